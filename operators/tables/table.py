"""The one contract of everything that is stored: `Snapshottable`.

A stored part names its arrays. Arrays whose rows change one by one are columns of tables: a snapshot
writes only their changed rows. All other arrays are scalars: a snapshot writes them whole.

- `tables()`: the tables as views, each with the rows that changed since they were stored. The caller
  must not change them.
- `scalars()`: the other arrays, copied.
- `arrays()`: all of them, copied. `TableState` builds it from the two above.
- `restore(arrays)`: the way back, into a part that was made with the same arguments. It also reads
  the arrays of earlier releases, where names are missing or of another type.

Changed rows of `tables()` and all of `scalars()`, written over an older copy of `arrays()`, give the
`arrays()` of now. Array names are stored: renaming one loses what was stored under the old name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, runtime_checkable

from operators.tables.removal import KeepsNoRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from state.dirty_rows import DirtyRows

    Arrays = Mapping[str, NDArray[Any]]


class Table(NamedTuple):
    """Columns of one length by array name, as views, and which of their rows changed.

    Without `dirty_rows` every snapshot writes all rows; only such a table may get shorter.
    """

    columns: Arrays
    dirty_rows: DirtyRows | None

    def prefixed(self, prefix: str) -> Table:
        """The same table, with a prefix before the names of its columns."""
        columns = {f"{prefix}{name}": rows for name, rows in self.columns.items()}
        return Table(columns, self.dirty_rows)


@runtime_checkable
class Snapshottable(Protocol):
    """A part whose state is stored and restored; see the module for what each method promises."""

    def tables(self) -> Sequence[Table]:
        """What grows, as views, and which rows changed."""

    def scalars(self) -> Arrays:
        """The rest of the state, copied."""

    def arrays(self) -> Arrays:
        """The whole state, copied."""

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave, in a part made with the same arguments."""


class TableState(KeepsNoRows):
    """The base of stored parts: without tables, without scalars, and `arrays` made of both."""

    def tables(self) -> Sequence[Table]:
        """What grows, as views, and which rows changed."""
        return ()

    def scalars(self) -> Arrays:
        """The rest of the state, copied."""
        return {}

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The whole state, copied."""
        columns = {
            name: rows.copy() for table in self.tables() for name, rows in table.columns.items()
        }
        return {**columns, **self.scalars()}


def add_prefix(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The arrays, with a prefix before their names."""
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def strip_prefix(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The arrays whose names begin with the prefix, under names without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
