"""The plane in which points differ most, learned in one pass: incremental principal components.

The names of the arrays in `scalars` are stored; everything else is free. Oracle: scikit-learn's `PCA`
on standard scores; a test compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.tables.table import TableState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Floats = NDArray[np.float64]

ROUNDING = 1e-12


class Plane(NamedTuple):
    """Two axes float64[2, F] for standard scores, and the share of all variance along each."""

    axes: Floats
    shares: Floats


class OnlinePca(TableState):
    """Running covariance of F columns, merged by batch (Chan, Golub and LeVeque 1979). The components
    are computed from it on request: those of batch PCA on standard scores.

    With `half_life_points` a row that old counts half.

    >>> pca = OnlinePca(2)
    >>> pca.learn(np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]]))
    >>> plane = pca.plane()
    >>> plane.axes[0].round(3).tolist(), plane.shares.round(3).tolist()
    ([0.707, 0.707], [1.0, 0.0])
    """

    def __init__(self, n_features: int, half_life_points: float | None = None) -> None:
        self.half_life_points = half_life_points
        self._weight = 0.0
        self._mean: Floats = np.zeros(n_features)
        self._scatter: Floats = np.zeros((n_features, n_features))

    def learn(self, rows: Floats) -> None:
        """Learn rows [n, F]."""
        if not len(rows):
            return
        if self.half_life_points is not None:
            decay = 0.5 ** (len(rows) / self.half_life_points)
            self._weight *= decay
            self._scatter *= decay
        mean = rows.mean(axis=0)
        centred = rows - mean
        total = self._weight + len(rows)
        mean_shift = mean - self._mean
        self._mean = self._mean + mean_shift * (len(rows) / total)
        self._scatter += centred.T @ centred
        self._scatter += np.outer(mean_shift, mean_shift) * (self._weight * len(rows) / total)
        self._weight = total

    def plane(self) -> Plane:
        """The two axes along which standard scores differ most.

        The largest component of an axis is positive, so that a map is never mirrored.
        """
        std = np.sqrt(np.diag(self._scatter) / max(self._weight, 1.0))
        std[std <= ROUNDING * np.abs(self._mean)] = 0.0
        inverse_std = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
        covariance = self._scatter / max(self._weight, 1.0)
        correlation = covariance * np.outer(inverse_std, inverse_std)
        variances, vectors = np.linalg.eigh(correlation)
        # Ascending, so the last two; with one column alone the second axis is 0.
        axes = np.zeros((2, len(std)))
        components = vectors.T[::-1][:2]
        axes[: len(components)] = components
        largest = axes[np.arange(2), np.abs(axes).argmax(axis=1)]
        axes *= np.where(largest < 0, -1.0, 1.0)[:, None]
        shares = np.zeros(2)
        shares[: len(components)] = variances[::-1][:2] / max(variances.sum(), ROUNDING)
        return Plane(axes, shares)

    def scalars(self) -> Arrays:
        """The whole state, copied."""
        return {
            "weight": np.array([self._weight]),
            "mean": self._mean.copy(),
            "scatter": self._scatter.copy(),
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave, in a model made with the same arguments."""
        self._weight = float(arrays["weight"][0])
        self._mean, self._scatter = arrays["mean"].copy(), arrays["scatter"].copy()
