"""The shoppers that a trainer has rows for, and which of them are known users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows
from state.interactions import RowIndex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from state.arrays import Rows


class KnownShoppers(TableState):
    """Rows by shopper id, and whether each shopper has a user id: `known`."""

    def __init__(self) -> None:
        self.index = RowIndex()
        self.known: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._dirty_rows = DirtyRows()

    def rows_of(self, shoppers: Sequence[str], known: Sequence[bool]) -> Rows:
        """The rows of active shoppers, new ones for those that are new."""
        rows = self.index.get_or_add_many(shoppers)
        self._ensure_rows()
        self.known[rows] = known
        self._dirty_rows.mark(rows)
        return rows

    def remove(self, rows: Rows) -> None:
        """Free these rows."""
        self._ensure_rows()
        self.known[rows] = False
        self._dirty_rows.mark(rows)
        self.index.remove(rows)

    def _ensure_rows(self) -> None:
        rows = len(self.index)
        if rows > len(self.known):
            self.known = grow(self.known, rows, False)
            self._dirty_rows.ensure_rows(len(self.known))

    def tables(self) -> Sequence[Table]:
        """The column by shopper."""
        self._ensure_rows()
        return [Table({"known": self.known[: len(self.index)]}, self._dirty_rows)]

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `arrays` returned; the ids are restored apart, before."""
        self.known = arrays.get("known", np.empty(0)).astype(np.bool_)
        self._dirty_rows = DirtyRows(len(self.known))
        self._ensure_rows()
