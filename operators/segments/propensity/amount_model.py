"""The model of an amount, what a shopper will spend, and its online evaluation.

The names of the arrays are stored; everything else may be changed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.models.online_glm import OnlinePoissonRegression
from operators.models.scaling import OnlineScaler
from operators.segments.propensity.chance_model import (
    BLOCK,
    DRIFT_LABELS,
    LEARNING_RATE,
    RECENT_LATE_LABELS,
    standard_scores,
)
from operators.tables.table import TableState, add_prefix, strip_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Floats = NDArray[np.float64]

BINS = 128
_OCTAVES = 32.0
AMOUNT_MAX_OF_MEAN = 20.0
"""An outcome is capped at so many times the mean in learning: else a wholesaler's order would raise
every prediction. What the cap removes is added back to all predictions alike."""


class AmountEvaluation(TableState):
    """Compares predicted with actual amounts; the past decays as in `PrequentialEvaluation`."""

    def __init__(self, half_life: float = 65_536.0) -> None:
        self.half_life = half_life
        # By bin of the prediction: count, sum predicted, sum actual; then the sums of the errors.
        self._sums: Floats = np.zeros((3, BINS))
        self._errors: Floats = np.zeros(2)

    def update(self, predicted: Floats, actual: Floats, mean: float) -> None:
        """Add predictions [n] and outcomes [n]; `mean` is the prediction of a constant model."""
        if not len(predicted):
            return
        octave = np.log2(np.maximum(predicted, 1e-6))
        bins = np.clip((octave / _OCTAVES + 0.5) * BINS, 0, BINS - 1).astype(np.intp)
        decay = 0.5 ** (len(predicted) / self.half_life)
        self._sums *= decay
        self._errors *= decay
        for row, by in enumerate((np.ones(len(predicted)), predicted, actual)):
            self._sums[row] += np.bincount(bins, by, BINS)
        self._errors += (np.abs(predicted - actual).sum(), np.abs(mean - actual).sum())

    @property
    def means(self) -> tuple[float, float, float, float]:
        """The means of predictions, outcomes, absolute error, and absolute error of a constant
        model; nan before the first outcome."""
        n, predicted, actual = self._sums.sum(axis=1).tolist()
        if not n:
            return math.nan, math.nan, math.nan, math.nan
        return predicted / n, actual / n, *(self._errors / n).tolist()

    @property
    def top_tenth(self) -> float:
        """The share of all amounts that the tenth of shoppers with the highest predictions
        brought."""
        n, _, actual = self._sums[:, ::-1]
        if not actual.sum() > 0:
            return math.nan
        above = np.cumsum(n) - n
        share = np.divide(n.sum() / 10.0 - above, n, out=np.zeros(BINS), where=n > 0)
        return float((np.clip(share, 0.0, 1.0) * actual).sum() / actual.sum())

    def scalars(self) -> Arrays:
        """All sums."""
        return {"sums": self._sums.copy(), "errors": self._errors.copy()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned."""
        self._sums, self._errors = arrays["sums"].copy(), arrays["errors"].copy()


class AmountModel(TableState):
    """The expected amount for points float64[n, F], in currency units.

    It predicts nothing (nan) before it has learned `labels_min` amounts above 0.
    """

    def __init__(self, n_features: int, labels_min: int) -> None:
        self.labels_min = labels_min
        self.evaluation = AmountEvaluation()
        self.labels = np.zeros(2, np.int64)
        """The number of outcomes learned: zeros, and amounts above 0."""
        self._total = np.zeros(1)
        # Recent sums of outcomes, and of the model's predictions (in means) for the same shoppers.
        self._recent = np.zeros(2)
        # Decayed sums over predictions: outcome, prediction, count.
        self._drift: Floats = np.zeros(3)
        self._scaler = OnlineScaler(n_features)
        self._glm = OnlinePoissonRegression(LEARNING_RATE, n_features=n_features)

    @property
    def ready(self) -> bool:
        """Whether it has learned enough outcomes to predict."""
        return bool(self.labels[1] >= self.labels_min)

    @property
    def mean(self) -> float:
        """The mean outcome."""
        return float(self._total[0] / max(self.labels.sum(), 1))

    def predict(self, points: Floats) -> Floats:
        """Return the amount for each point, nan before the model is ready."""
        if not self.ready:
            return np.full(len(points), np.nan)
        per_unit = self._recent[0] / max(self._recent[1], 1e-9) * self._drift_ratio
        amounts: Floats = self._glm.predict_array(standard_scores(self._scaler, points)) * per_unit
        return amounts

    @property
    def _drift_ratio(self) -> float:
        """By how much recent outcomes exceed predictions; few outcomes weigh little."""
        actual, predicted, _ = self._drift.tolist()
        prior = self.mean * self.labels_min
        return float((actual + prior) / (predicted + prior)) if prior else 1.0

    def learn(self, points: Floats, predicted: Floats, actual: Floats) -> None:
        """Learn amounts [n] of points, oldest first, with the `predicted` ones (nan for none)."""
        has_prediction = ~np.isnan(predicted)
        self.evaluation.update(predicted[has_prediction], actual[has_prediction], self.mean)
        self._drift *= 0.5 ** (has_prediction.sum() / DRIFT_LABELS)
        self._drift += (
            actual[has_prediction].sum(),
            predicted[has_prediction].sum(),
            has_prediction.sum(),
        )
        for start in range(0, len(points), BLOCK):
            block, amounts = points[start : start + BLOCK], actual[start : start + BLOCK]
            self._scaler.learn_array(block)
            positives = int((amounts > 0.0).sum())
            self.labels += (len(block) - positives, positives)
            self._total += amounts.sum()
            self._recent *= 0.5 ** (len(block) / RECENT_LATE_LABELS)
            self._recent[0] += amounts.sum()
            if not self.mean:
                continue
            scaled = standard_scores(self._scaler, block)
            self._recent[1] += self._glm.predict_array(scaled).sum()
            capped = np.minimum(amounts / self.mean, AMOUNT_MAX_OF_MEAN)
            self._glm.learn_array(scaled, capped, len(block) / BLOCK)

    def scalars(self) -> Arrays:
        """The whole state."""
        return {
            "labels": self.labels.copy(),
            "total": self._total.copy(),
            "came": self._recent.copy(),
            "drift": self._drift.copy(),
            **add_prefix("judge.", self.evaluation.scalars()),
            **add_prefix("scaler.", self._scaler.arrays()),
            **add_prefix("glm.", self._glm.scalars()),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned, of a model with the same arguments."""
        self.labels, self._recent = arrays["labels"].copy(), arrays["came"].copy()
        self._total, self._drift = arrays["total"].copy(), arrays["drift"].copy()
        self.evaluation.restore(strip_prefix("judge.", arrays))
        self._scaler.restore(strip_prefix("scaler.", arrays))
        self._glm.restore(strip_prefix("glm.", arrays))
