"""Points that wait until a block of them is together, however they are cut into calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Points = NDArray[np.float64]


class Blocks:
    """Cuts a stream of points float64[n, F] into blocks of `block_points`.

    >>> blocks = Blocks(2, 1)
    >>> [[block.tolist() for block in blocks.take(np.full((n, 1), float(n)))] for n in (1, 3)]
    [[], [[[1.0], [3.0]], [[3.0], [3.0]]]]
    """

    __slots__ = ("_points", "_waits", "block_points")

    def __init__(self, block_points: int, n_features: int) -> None:
        self.block_points = block_points
        self._points: Points = np.empty((block_points, n_features))
        self._waits = 0

    @property
    def waiting(self) -> Points:
        """The points that wait, a view that may be changed in place."""
        return self._points[: self._waits]

    def take(self, points: Points) -> Iterator[Points]:
        """The blocks that are whole with these points; each holds until the next is asked for."""
        start = 0
        while start < len(points):
            if not self._waits and len(points) - start >= self.block_points:
                yield points[start : start + self.block_points]
                start += self.block_points
                continue
            taken = points[start : start + self.block_points - self._waits]
            self._points[self._waits : self._waits + len(taken)] = taken
            self._waits += len(taken)
            start += len(taken)
            if self._waits == self.block_points:
                self._waits = 0
                yield self._points

    def widen(self, n_features: int) -> None:
        """Make room for more features; they were 0 so far."""
        self._points = np.pad(self._points, ((0, 0), (0, n_features - self._points.shape[1])))

    def restore(self, waiting: Points) -> None:
        """Let these points wait, which `waiting` gave."""
        self._points = np.empty((self.block_points, waiting.shape[1]))
        self._waits = len(waiting)
        self._points[: self._waits] = waiting
