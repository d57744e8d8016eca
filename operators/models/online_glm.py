"""Generalized linear models that learn in small batches: River estimators with a path for arrays.

The names of the arrays in `scalars` are stored. Everything else may change as long as the weights are
those of the oracle: River's `LogisticRegression` and `LinearRegression`
(`tests/operators/models/test_online_glm.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from river import base

from operators.models.feature_columns import FeatureColumns, frames
from operators.tables.table import TableState
from state.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from narwhals.stable.v2.typing import IntoDataFrame, IntoSeries
    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Feature = Hashable
    Floats = NDArray[np.float64]

LEARNING_RATE = 0.1
RAW_SCORE_MAX = 30.0
"""Raw scores are clipped there: e^30 is more than any shop sells."""
_EPSILON = 1e-8


class OnlineGlm(TableState, base.Estimator):
    """A linear model under a link, by AdaGrad (Duchi, Hazan and Singer 2011).

    Oracle: River's `LogisticRegression(AdaGrad(.1), intercept_lr=0)` and `LinearRegression` with its
    Poisson loss, in their `learn_many`. River takes 1 to 2 ms a call, most of it for frames and dicts;
    `learn_array` takes 20 us. The intercept is learned as the weight of a feature that is always 1.
    """

    algorithm: str

    def __init__(self, learning_rate: float, has_intercept: bool, n_features: int) -> None:
        self.learning_rate = learning_rate
        self.has_intercept = has_intercept
        self.n_features = n_features
        self.weights: Floats = np.zeros(has_intercept + n_features)
        """The intercept, if there is one, then a weight a feature."""
        self.squares: Floats = np.zeros(has_intercept + n_features)
        """The sums of the squared slopes of each weight."""
        self._columns = FeatureColumns(n_features)

    @abstractmethod
    def _mean(self, raw: Floats) -> Floats:
        """The mean that a raw score stands for."""

    def predict_array(self, points: Floats) -> Floats:
        """The probability, or the amount, for points [n, F] -> float64[n]."""
        return self._predict(self._design(points))

    def learn_array(self, points: Floats, targets: Floats, weight: float = 1.0) -> None:
        """One step along the mean gradient of points [n, F] with targets [n], n > 0.

        For blocks of different size give a `weight` by size: else a point in a small one counts more.
        """
        design = self._design(points)
        # For both links the slope of the loss is the prediction less the target, times the point.
        slope = design.T @ (self._predict(design) - targets) * (weight / len(points))
        self.squares += slope * slope
        self.weights -= self.learning_rate * slope / np.sqrt(self.squares + _EPSILON)

    def learn_one(self, x: dict[Feature, Any], y: Any) -> None:
        """Learn one target; a missing feature is 0."""
        self._add_features(x)
        self.learn_array(self._columns.row(x), np.array([float(y)]))

    def learn_many(self, X: IntoDataFrame, y: IntoSeries) -> None:
        """Learn the rows of a data frame (pandas, polars, ...), columns by name, in one step."""
        frame = frames().into_frame(X)
        self._add_features(frame.columns)
        targets = frames().into_series(y).to_numpy().astype(np.float64)
        if len(targets):
            self.learn_array(self._columns.of_frame(frame), targets)

    def scalars(self) -> Arrays:
        """Weights, the sums of their squared slopes, and the features, copied."""
        return {
            "weights": self.weights.copy(),
            "squares": self.squares.copy(),
            "features": self._columns.array(),
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave, in a model made with the same arguments.

        Raises SnapshotError for the arrays of a model of another kind.
        """
        if "weights" not in arrays:
            raise SnapshotError("the stored model is of another kind than a linear one")
        self.weights, self.squares = arrays["weights"].copy(), arrays["squares"].copy()
        if "features" in arrays:  # not in the first releases
            self._columns.restore(arrays["features"])

    def _many(self, X: IntoDataFrame) -> tuple[Any, Floats]:
        frame = frames().into_frame(X)
        return frame, self.predict_array(self._columns.of_frame(frame))

    def _predict(self, design: Floats) -> Floats:
        return self._mean(np.clip(design @ self.weights, -RAW_SCORE_MAX, RAW_SCORE_MAX))

    def _design(self, points: Floats) -> Floats:
        """Points, after a column of ones where there is an intercept."""
        if not self.has_intercept:
            return points
        design = np.ones((len(points), 1 + points.shape[1]))
        design[:, 1:] = points
        return design

    def _add_features(self, features: Iterable[Feature]) -> None:
        self._columns.add(features)
        new = self.has_intercept + len(self._columns) - len(self.weights)
        if new:
            self.weights = np.pad(self.weights, (0, new))
            self.squares = np.pad(self.squares, (0, new))

    def _unit_test_skips(self) -> set[str]:
        """As River's own linear models: `learn_many` takes one step for all rows."""
        return {"check_learn_many_matches_learn_one"}


class OnlineLogisticRegression(OnlineGlm, base.MiniBatchClassifier):
    """Logistic regression: the chance that something is true.

    Parameters
    ----------
    learning_rate
        First step size of a weight.
    has_intercept
        Whether there is a weight that belongs to no feature.
    n_features
        Features that are known beforehand, named 0, 1, ...; others get a weight when they are seen.

    Examples
    --------
    >>> model = OnlineLogisticRegression()
    >>> for _ in range(100):
    ...     model.learn_one({"x": -1.0}, False)
    ...     model.learn_one({"x": 1.0}, True)
    >>> round(model.predict_proba_one({"x": 1.0})[True], 1)
    0.9
    """

    algorithm = "logistic regression"

    def __init__(
        self,
        learning_rate: float = LEARNING_RATE,
        has_intercept: bool = True,
        n_features: int = 0,
    ) -> None:
        super().__init__(learning_rate, has_intercept, n_features)

    def predict_proba_one(self, x: dict[Feature, Any], **_: Any) -> dict[Any, float]:
        """The chances of False and True."""
        chance = float(self.predict_array(self._columns.row(x))[0])
        return {False: 1.0 - chance, True: chance}

    def predict_proba_many(self, X: IntoDataFrame) -> Any:
        """The chances of False and True for the rows of a data frame, as a frame of the same kind."""
        frame, chances = self._many(X)
        return frames().to_native_frame({False: 1.0 - chances, True: chances}, like=frame)

    def predict_many(self, X: IntoDataFrame) -> Any:
        """The more likely of False and True for each row, as a series of the same kind."""
        frame, chances = self._many(X)
        return frames().to_native_series(chances > 0.5, name=None, like=frame)

    def _mean(self, raw: Floats) -> Floats:
        chances: Floats = 1.0 / (1.0 + np.exp(-raw))
        return chances


class OnlinePoissonRegression(OnlineGlm, base.MiniBatchRegressor):
    """Poisson regression: an amount that is at least 0.

    Parameters
    ----------
    learning_rate
        First step size of a weight.
    has_intercept
        Whether there is a weight that belongs to no feature.
    n_features
        Features that are known beforehand, named 0, 1, ...; others get a weight when they are seen.

    Examples
    --------
    >>> model = OnlinePoissonRegression()
    >>> for _ in range(500):
    ...     model.learn_one({"x": 0.0}, 2.0)
    >>> round(model.predict_one({"x": 0.0}))
    2
    """

    algorithm = "Poisson regression"

    def __init__(
        self,
        learning_rate: float = LEARNING_RATE,
        has_intercept: bool = True,
        n_features: int = 0,
    ) -> None:
        super().__init__(learning_rate, has_intercept, n_features)

    def predict_one(self, x: dict[Feature, Any], **_: Any) -> float:
        """The expected amount."""
        return float(self.predict_array(self._columns.row(x))[0])

    def predict_many(self, X: IntoDataFrame) -> Any:
        """The expected amount for each row, as a series of the same kind."""
        frame, amounts = self._many(X)
        return frames().to_native_series(amounts, name=None, like=frame)

    def _mean(self, raw: Floats) -> Floats:
        amounts: Floats = np.exp(raw)
        return amounts
