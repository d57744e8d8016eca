"""Which rows changed: one bit a row, so that a snapshot writes these and no others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.interactions import Rows

_ROOM_MIN = 64


class Marks:
    """Rows that changed since they were last taken; a row never taken counts as changed.

    >>> marks = Marks(4); marks.take(3).tolist()
    [0, 1, 2]
    >>> marks.mark(np.array([2, 2])); marks.take(4).tolist()
    [2, 3]
    """

    __slots__ = ("_marked",)

    def __init__(self, rows: int = 0) -> None:
        self._marked: NDArray[np.bool_] = np.ones(max(rows, _ROOM_MIN), np.bool_)

    def reach(self, rows: int) -> None:
        """Make room for so many rows."""
        room = len(self._marked)
        if rows > room:
            larger = np.ones(max(rows, 2 * room), np.bool_)
            larger[:room] = self._marked
            self._marked = larger

    def mark(self, rows: NDArray[np.integer] | int) -> None:
        """These rows changed; there must be room for them."""
        self._marked[rows] = True

    def mark_all(self) -> None:
        """Every row changed."""
        self._marked[:] = True

    def take(self, rows: int) -> Rows:
        """The changed ones of the first so many rows, ascending; they are unmarked."""
        self.reach(rows)
        taken = np.flatnonzero(self._marked[:rows]).astype(np.int32)
        self._marked[taken] = False
        return taken
