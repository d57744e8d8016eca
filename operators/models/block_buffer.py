"""Collects points into blocks of a fixed size, however the points are cut into calls.

So that a result does not depend on batch size. The incomplete block (`buffered`) is stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Points = NDArray[np.float64]


class BlockBuffer:
    """Cuts a stream of points float64[n, F] into blocks of `block_points`.

    >>> buffer = BlockBuffer(2, 1)
    >>> [[block.tolist() for block in buffer.push(np.full((n, 1), float(n)))] for n in (1, 3)]
    [[], [[[1.0], [3.0]], [[3.0], [3.0]]]]
    """

    __slots__ = ("_count", "_points", "block_points")

    def __init__(self, block_points: int, n_features: int) -> None:
        self.block_points = block_points
        self._points: Points = np.empty((block_points, n_features))
        self._count = 0

    @property
    def buffered(self) -> Points:
        """The points of the incomplete block, a view that may be changed in place."""
        return self._points[: self._count]

    def push(self, points: Points) -> Iterator[Points]:
        """Add points; yields the blocks that are complete now. A block is valid until the next one."""
        start = 0
        while start < len(points):
            if not self._count and len(points) - start >= self.block_points:
                yield points[start : start + self.block_points]
                start += self.block_points
                continue
            chunk = points[start : start + self.block_points - self._count]
            self._points[self._count : self._count + len(chunk)] = chunk
            self._count += len(chunk)
            start += len(chunk)
            if self._count == self.block_points:
                self._count = 0
                yield self._points

    def add_features(self, n_features: int) -> None:
        """Extend points to so many features; the new ones are 0."""
        self._points = np.pad(self._points, ((0, 0), (0, n_features - self._points.shape[1])))

    def restore(self, buffered: Points) -> None:
        """Restore the points that `buffered` gave."""
        self._points = np.empty((self.block_points, buffered.shape[1]))
        self._count = len(buffered)
        self._points[: self._count] = buffered
