"""Generalized linear models that learn in small batches, on plain arrays.

The names of the arrays in `scalars` are stored. Everything else may change as long as the weights are
those of the oracle: River's `LogisticRegression` and `LinearRegression`
(`tests/operators/models/test_online_glm.py`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from operators.tables.table import TableState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Floats = NDArray[np.float64]

Link = Literal["logistic", "exponential"]

LEARNING_RATE = 0.1
RAW_SCORE_MAX = 30.0
"""Raw scores are clipped there: e^30 is more than any shop sells."""
_EPSILON = 1e-8


class OnlineGlm(TableState):
    """Logistic regression, or Poisson regression for amounts, by AdaGrad (Duchi, Hazan and Singer 2011).

    Oracle: River's `LogisticRegression(AdaGrad(.1), intercept_lr=0)` and `LinearRegression` with its
    Poisson loss, in their `learn_many`. River takes 1 to 2 ms a call, most of it for frames and dicts;
    this takes 20 us. A model with an intercept has a column of ones.

    >>> model = OnlineGlm(1, "logistic")
    >>> for _ in range(100): model.learn(np.array([[-1.0], [1.0]]), np.array([0.0, 1.0]))
    >>> model.predict(np.array([[-1.0], [1.0]])).round(1).tolist()
    [0.2, 0.8]
    """

    def __init__(self, n_features: int, link: Link, learning_rate: float = LEARNING_RATE) -> None:
        self.link = link
        self.learning_rate = learning_rate
        self.weights: Floats = np.zeros(n_features)
        self._squares: Floats = np.zeros(n_features)

    def predict(self, points: Floats) -> Floats:
        """The probability, or the amount, for points [n, F] -> float64[n]."""
        raw = np.clip(points @ self.weights, -RAW_SCORE_MAX, RAW_SCORE_MAX)
        means: Floats = np.exp(raw) if self.link == "exponential" else 1.0 / (1.0 + np.exp(-raw))
        return means

    def learn(self, points: Floats, targets: Floats, weight: float = 1.0) -> None:
        """One step along the mean gradient of points [n, F] with targets [n], n > 0.

        For blocks of different size give a `weight` by size: else a point in a small one counts more.
        """
        # For both links the slope of the loss is the prediction less the target, times the point.
        slope = points.T @ (self.predict(points) - targets) * (weight / len(points))
        self._squares += slope * slope
        self.weights -= self.learning_rate * slope / np.sqrt(self._squares + _EPSILON)

    def scalars(self) -> Arrays:
        """Weights and the sums of their squared slopes, copied."""
        return {"weights": self.weights.copy(), "squares": self._squares.copy()}

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave, in a model made with the same arguments."""
        self.weights, self._squares = arrays["weights"].copy(), arrays["squares"].copy()
