"""Groups of items by name (a category, a brand), as rows; the row of an empty group is given again."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows

_FREE = 0


class GroupIndex(TableState):
    """Names to rows. A name is stored as 63 bits of its hash: two names that share them are one group.

    key int64[groups]     0 for a free row
    members int64[groups] how many items are in it; not stored, `restore` counts them
    """

    def __init__(self) -> None:
        self.key: NDArray[np.int64] = np.empty(0, np.int64)
        self.members: NDArray[np.int64] = np.empty(0, np.int64)
        self._rows: dict[int, int] = {}
        self._free: list[int] = []
        self._freed: list[int] = []
        self._dirty_rows = DirtyRows()

    def row(self, name: str) -> int:
        """The row of a name, a new one if it has none; NO_ROW for ""."""
        if not name:
            return NO_ROW
        digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
        key = (int.from_bytes(digest, "little") >> 1) or 1
        row = self._rows.get(key)
        if row is None:
            row = self._free.pop() if self._free else len(self._rows)
            self._rows[key] = row
            self.key = grow(self.key, row + 1, _FREE)
            self.members = grow(self.members, row + 1, 0)
            self._dirty_rows.ensure_rows(row + 1)
            self.key[row] = key
            self._dirty_rows.mark(row)
        return row

    def count(self, current: Rows, previous: Rows) -> None:
        """Move items from their previous groups to the current ones, rows of any shape; empty groups
        are freed."""
        departed = previous[previous >= 0]
        np.add.at(self.members, current[current >= 0], 1)
        np.subtract.at(self.members, departed, 1)
        departed = np.unique(departed)
        empty = departed[self.members[departed] == 0]
        for key in self.key[empty].tolist():
            del self._rows[key]
        self.key[empty] = _FREE
        self._dirty_rows.mark(empty)
        self._freed += empty.tolist()
        self._free = sorted([*self._free, *empty.tolist()], reverse=True)

    def take_freed(self) -> Rows:
        """The rows that were freed since the last call: what is stored under them must be removed."""
        freed, self._freed = np.array(self._freed, np.int32), []
        return freed

    def tables(self) -> Sequence[Table]:
        """The key of each group."""
        return [Table({"key": self.key[: len(self._rows) + len(self._free)]}, self._dirty_rows)]

    def restore(self, arrays: Arrays, group: Rows) -> None:
        """Go on from the arrays of a snapshot, and count the members of each group."""
        self.key = arrays["key"].astype(np.int64)
        self.members = np.bincount(group[group >= 0], minlength=len(self.key))
        rows = self.key.tolist()
        self._rows = {key: row for row, key in enumerate(rows) if key != _FREE}
        self._free = [row for row, key in enumerate(rows) if key == _FREE][::-1]
        self._freed = []
        self._dirty_rows = DirtyRows(len(self.key))
