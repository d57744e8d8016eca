"""Which rows of a table changed since they were last stored: one bit a row.

A snapshot writes the changed rows and no others. Change freely: nothing here is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows

_CAPACITY_MIN = 64


class DirtyRows:
    """Rows that changed since they were last taken. A row that was never taken counts as changed.

    >>> dirty_rows = DirtyRows(4); dirty_rows.take_dirty(3).tolist()
    [0, 1, 2]
    >>> dirty_rows.mark(np.array([2, 2])); dirty_rows.take_dirty(4).tolist()
    [2, 3]
    """

    __slots__ = ("_is_dirty",)

    def __init__(self, rows: int = 0) -> None:
        self._is_dirty: NDArray[np.bool_] = np.ones(max(rows, _CAPACITY_MIN), np.bool_)

    def ensure_rows(self, rows: int) -> None:
        """Extend the bits to at least so many rows."""
        capacity = len(self._is_dirty)
        if rows > capacity:
            larger = np.ones(max(rows, 2 * capacity), np.bool_)
            larger[:capacity] = self._is_dirty
            self._is_dirty = larger

    def mark(self, rows: NDArray[np.integer] | int) -> None:
        """Mark rows as changed. Call `ensure_rows` for them first."""
        self._is_dirty[rows] = True

    def mark_all(self) -> None:
        """Mark every row as changed."""
        self._is_dirty[:] = True

    def take_dirty(self, rows: int) -> Rows:
        """Return the changed rows below `rows`, ascending, and unmark them."""
        self.ensure_rows(rows)
        dirty = np.flatnonzero(self._is_dirty[:rows]).astype(np.int32)
        self._is_dirty[dirty] = False
        return dirty
