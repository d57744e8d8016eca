"""Standard scores of columns whose mean and standard deviation are still being learned.

The names of the arrays in `scalars` are stored; everything else is free. Oracle: scikit-learn's
`StandardScaler` (River's gives the same without decay); a test compares them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.training import scaling as kernels
from operators.tables.table import TableState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.tables.table import Arrays


class OnlineScaler(TableState):
    """Running mean and variance of n_features columns, merged by batch (Chan, Golub and LeVeque
    1979, "Updating formulae and a pairwise algorithm for computing sample variances").

    With `half_life_points` a row that old counts half. The result does not depend on how rows were
    cut into batches, except for rounding. A constant column scales to 0.

    >>> scaler = OnlineScaler(1)
    >>> scaler.learn_array(np.array([[1.0], [3.0]]))
    >>> scaler.transform_array(np.array([[2.0], [4.0]])).tolist()
    [[0.0], [2.0]]
    """

    def __init__(self, n_features: int, half_life_points: float | None = None) -> None:
        self.half_life_points = half_life_points
        self.weight = 0.0
        """Rows remembered."""
        self.mean = np.zeros(n_features)
        """float64[F]."""
        self.std = np.zeros(n_features)
        """Population standard deviation, float64[F], 0 for a constant column."""
        self.inverse_std = np.zeros(n_features)
        """1 over `std`, 0 for a constant column."""
        self.squares = np.zeros(n_features)
        """Sums of squared distances from the mean, float64[F]."""
        self._sums = np.empty((2, n_features))

    def learn_array(self, rows: NDArray[np.float64]) -> None:
        """Learn rows [n, F], oldest first."""
        if len(rows):
            self.weight = kernels.learn_rows(
                np.ascontiguousarray(rows),
                self.half_life_points or 0.0,
                self.weight,
                self.mean,
                self.squares,
                self.std,
                self.inverse_std,
                self._sums,
            )

    def transform_array(self, rows: NDArray[np.float64]) -> NDArray[np.float64]:
        """(rows - mean) / std, rows [n, F] -> float64[n, F]."""
        return (rows - self.mean) * self.inverse_std

    def rescaling_from(
        self, mean: NDArray[np.float64], std: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(factor, shift), float64[F] each: a score z under an older mean and std is now
        z * factor + shift."""
        return std * self.inverse_std, (mean - self.mean) * self.inverse_std

    def scalars(self) -> Arrays:
        """The whole state, copied."""
        return {
            "weight": np.array([self.weight]),
            "mean": self.mean.copy(),
            "squares": self.squares.copy(),
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave, in a scaler made with the same arguments."""
        self.weight = float(arrays["weight"][0])
        self.mean, self.squares = arrays["mean"].copy(), arrays["squares"].copy()
        kernels.write_std(self.weight, self.mean, self.squares, self.std, self.inverse_std)
