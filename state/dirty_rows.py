"""Which rows changed: one bit a row, so that a snapshot writes these and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.interactions import Rows

_CAPACITY_MIN = 64


class DirtyRows:
    """Rows that changed since they were last taken; a row never taken counts as changed.

    >>> dirty = DirtyRows(4); dirty.take_dirty(3).tolist()
    [0, 1, 2]
    >>> dirty.mark(np.array([2, 2])); dirty.take_dirty(4).tolist()
    [2, 3]
    """

    __slots__ = ("_is_dirty",)

    def __init__(self, rows: int = 0) -> None:
        self._is_dirty: NDArray[np.bool_] = np.ones(max(rows, _CAPACITY_MIN), np.bool_)

    def ensure_rows(self, rows: int) -> None:
        """Make room for so many rows."""
        capacity = len(self._is_dirty)
        if rows > capacity:
            larger = np.ones(max(rows, 2 * capacity), np.bool_)
            larger[:capacity] = self._is_dirty
            self._is_dirty = larger

    def mark(self, rows: NDArray[np.integer] | int) -> None:
        """These rows changed; there must be room for them."""
        self._is_dirty[rows] = True

    def mark_all(self) -> None:
        """Every row changed."""
        self._is_dirty[:] = True

    def take_dirty(self, rows: int) -> Rows:
        """The changed ones of the first so many rows, ascending; they are unmarked."""
        self.ensure_rows(rows)
        dirty = np.flatnonzero(self._is_dirty[:rows]).astype(np.int32)
        self._is_dirty[dirty] = False
        return dirty
