"""How state is kept in rows, so that a snapshot can hand over the changed ones alone.

Everything that is stored says which of its arrays are tables, whose rows change one by one, and which
are small and handed over whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from state.dirty_rows import DirtyRows

    Arrays = Mapping[str, NDArray[Any]]


class Table(NamedTuple):
    """Columns of one length by array name, as views, and the marks of their rows.

    Without marks all rows are handed over each time; only then may a table get shorter.
    """

    columns: Arrays
    dirty_rows: DirtyRows | None

    def prefixed(self, prefix: str) -> Table:
        """The same table, with a prefix to the names of its columns."""
        return Table(
            {f"{prefix}{name}": rows for name, rows in self.columns.items()}, self.dirty_rows
        )


class Snapshottable(Protocol):
    """What is stored, and read again, as rows of tables and what is small."""

    def tables(self) -> Sequence[Table]:
        """What grows: views, and which rows changed."""

    def scalars(self) -> Arrays:
        """The rest, copied."""

    def restore(self, arrays: Arrays) -> None:
        """Take over what both gave, of one made with the same arguments."""


class TableState:
    """State as named arrays: the columns of `tables`, and the rest, which is `scalars`."""

    def tables(self) -> Sequence[Table]:
        """Tables whose changed rows are handed over; views, not to be changed by the caller."""
        return ()

    def scalars(self) -> Arrays:
        """What is handed over whole, copied."""
        return {}

    def arrays(self) -> Arrays:
        """The whole state as named arrays, copied."""
        columns = {
            name: rows.copy() for table in self.tables() for name, rows in table.columns.items()
        }
        return {**columns, **self.scalars()}


def add_prefix(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """The arrays under longer names."""
    return {f"{prefix}{name}": array for name, array in arrays.items()}


def strip_prefix(prefix: str, arrays: Arrays) -> dict[str, NDArray[Any]]:
    """Those of the arrays whose names have the prefix, without it."""
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
