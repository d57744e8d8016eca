"""A bounded sample of a stream: uniform over all of it, or with a preference for recent points.

Change freely; what is stored are `points`, `keys` and `threshold`. Neither River nor scikit-learn has
such a sample; the tests compare it with the shares that its half-life promises.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILL_AFTER_SHRINK = 0.75


class Reservoir:
    """At most `size` points [.., F] of a stream; once it was full, at least 3/4 of that.

    Every point draws a key and is in the sample while its key is below a threshold. When the sample is
    full, the threshold sinks. With `half_life_points` a point that much older is half as likely to be in
    the sample: the keys are those of weighted sampling (Efraimidis and Spirakis 2006, algorithm A-Res)
    under weights that grow with time, as logarithms, so that no stream is too long.
    """

    def __init__(self, size: int, n_features: int, half_life_points: float | None) -> None:
        self.size = size
        self.decay_rate = 0.0 if half_life_points is None else math.log(2) / half_life_points
        self.threshold = math.inf
        self._points = np.empty((size, n_features))
        self._keys = np.empty(size)
        self._count = 0

    @property
    def points(self) -> NDArray[np.float64]:
        """The sample, float64[count, F], a view."""
        return self._points[: self._count]

    @property
    def keys(self) -> NDArray[np.float64]:
        """The keys of the points, float64[count], a view."""
        return self._keys[: self._count]

    def offer(self, points: NDArray[np.float64], seen: int, rng: np.random.Generator) -> None:
        """Offer points [n, F] to the sample; `seen` is the number of points offered before them."""
        times = np.arange(seen, seen + len(points))
        keys = np.log(rng.standard_exponential(len(points))) - self.decay_rate * times
        entering = keys < self.threshold
        points, keys = points[entering], keys[entering]
        if self._count + len(keys) > self.size:
            points, keys = np.concatenate([self.points, points]), np.concatenate([self.keys, keys])
            size_kept = int(FILL_AFTER_SHRINK * self.size)
            lowest = np.argpartition(keys, size_kept)
            self.threshold = float(keys[lowest[size_kept]])
            points, keys = points[lowest[:size_kept]], keys[lowest[:size_kept]]
            self._count = 0
        self._append(points, keys)

    def add_features(self, n_features: int) -> None:
        """Extend points to so many features; the new ones were 0 so far."""
        self._points = np.pad(self._points, ((0, 0), (0, n_features - self._points.shape[1])))

    def restore(
        self, points: NDArray[np.float64], keys: NDArray[np.float64], threshold: float
    ) -> None:
        """Restore what another reservoir of this size held."""
        self._points = np.empty((self.size, points.shape[1]))
        self._count = 0
        self._append(points, keys)
        self.threshold = threshold

    def _append(self, points: NDArray[np.float64], keys: NDArray[np.float64]) -> None:
        end = self._count + len(keys)
        self._points[self._count : end] = points
        self._keys[self._count : end] = keys
        self._count = end
