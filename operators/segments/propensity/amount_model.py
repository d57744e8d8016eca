"""The model of an amount, what a shopper will spend, and how it is judged.

The names of the arrays are stored; everything else is free.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.models.online_glm import OnlineGlm
from operators.models.scaling import OnlineScaler
from operators.segments.propensity.chance_model import (
    BLOCK,
    DRIFT_LABELS,
    LEARNING_RATE,
    RECENT_LATE_LABELS,
    with_ones,
)
from operators.tables.table import Kept, with_prefix, without_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Floats = NDArray[np.float64]

BINS = 128
_OCTAVES = 32.0
LARGEST_OF_MEAN = 20.0
"""One outcome counts as so many times the mean at most in learning: a wholesaler's order would else
move everybody's expectation. What that takes away is given back to all alike."""


class AmountJudge(Kept):
    """Amounts that were predicted beside those that came; the past fades as in `Progressive`."""

    def __init__(self, half_life: float = 65_536.0) -> None:
        self.half_life = half_life
        # By bin of the prediction: how many, predicted, came; then sums of the errors.
        self._sums: Floats = np.zeros((3, BINS))
        self._errors: Floats = np.zeros(2)

    def take(self, said: Floats, came: Floats, mean: float) -> None:
        """Amounts [n] that were predicted, what came [n]; `mean` is what a constant would have said."""
        if not len(said):
            return
        octave = np.log2(np.maximum(said, 1e-6))
        bins = np.clip((octave / _OCTAVES + 0.5) * BINS, 0, BINS - 1).astype(np.intp)
        faded = 0.5 ** (len(said) / self.half_life)
        self._sums *= faded
        self._errors *= faded
        for row, by in enumerate((np.ones(len(said)), said, came)):
            self._sums[row] += np.bincount(bins, by, BINS)
        self._errors += (np.abs(said - came).sum(), np.abs(mean - came).sum())

    @property
    def means(self) -> tuple[float, float, float, float]:
        """Means of what was predicted, of what came, of the error, of a constant's error; nan before
        the first."""
        n, said, came = self._sums.sum(axis=1).tolist()
        if not n:
            return math.nan, math.nan, math.nan, math.nan
        return said / n, came / n, *(self._errors / n).tolist()

    @property
    def top_tenth(self) -> float:
        """The share of all that came which those predicted highest, a tenth of all, brought."""
        n, _, came = self._sums[:, ::-1]
        if not came.sum() > 0:
            return math.nan
        before = np.cumsum(n) - n
        share = np.divide(n.sum() / 10.0 - before, n, out=np.zeros(BINS), where=n > 0)
        return float((np.clip(share, 0.0, 1.0) * came).sum() / came.sum())

    def small(self) -> Arrays:
        """All sums."""
        return {"sums": self._sums.copy(), "errors": self._errors.copy()}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave."""
        self._sums, self._errors = arrays["sums"].copy(), arrays["errors"].copy()


class AmountModel(Kept):
    """The amount to be expected, from points float64[n, F], in the unit it is told.

    It says nothing (nan) before it has learned `labels_min` amounts above 0.
    """

    def __init__(self, n_features: int, labels_min: int) -> None:
        self.labels_min = labels_min
        self.judge = AmountJudge()
        self.labels = np.zeros(2, np.int64)
        """Outcomes learned: those of nothing, those above."""
        self._total = np.zeros(1)
        # What came lately, and what the model, which counts in means, makes of the same shoppers.
        self._came = np.zeros(2)
        # What came of those of whom something was said, what was said, and how many.
        self._drift: Floats = np.zeros(3)
        self._scaler = OnlineScaler(n_features)
        self._glm = OnlineGlm(1 + n_features, "exponential", LEARNING_RATE)

    @property
    def ready(self) -> bool:
        """Whether it has seen enough."""
        return bool(self.labels[1] >= self.labels_min)

    @property
    def mean(self) -> float:
        """What came on average."""
        return float(self._total[0] / max(self.labels.sum(), 1))

    def predict(self, points: Floats) -> Floats:
        """The amount for each point, nan before it is ready."""
        if not self.ready:
            return np.full(len(points), np.nan)
        per_unit = self._came[0] / max(self._came[1], 1e-9) * self._drift_ratio
        amounts: Floats = self._glm.predict(with_ones(self._scaler, points)) * per_unit
        return amounts

    @property
    def _drift_ratio(self) -> float:
        """By how much more came lately than was said; a few outcomes count little."""
        came, said, _ = self._drift.tolist()
        middle = self.mean * self.labels_min
        return float((came + middle) / (said + middle)) if middle else 1.0

    def learn(self, points: Floats, said: Floats, came: Floats) -> None:
        """Amounts [n] that came of points, oldest first, of which it had `said` one (nan: nothing)."""
        judged = ~np.isnan(said)
        self.judge.take(said[judged], came[judged], self.mean)
        self._drift *= 0.5 ** (judged.sum() / DRIFT_LABELS)
        self._drift += (came[judged].sum(), said[judged].sum(), judged.sum())
        for start in range(0, len(points), BLOCK):
            block, amounts = points[start : start + BLOCK], came[start : start + BLOCK]
            self._scaler.learn_array(block)
            some = int((amounts > 0.0).sum())
            self.labels += (len(block) - some, some)
            self._total += amounts.sum()
            self._came *= 0.5 ** (len(block) / RECENT_LATE_LABELS)
            self._came[0] += amounts.sum()
            if not self.mean:
                continue
            scaled = with_ones(self._scaler, block)
            self._came[1] += self._glm.predict(scaled).sum()
            capped = np.minimum(amounts / self.mean, LARGEST_OF_MEAN)
            self._glm.learn(scaled, capped, len(block) / BLOCK)

    def small(self) -> Arrays:
        """The whole state."""
        return {
            "labels": self.labels.copy(),
            "total": self._total.copy(),
            "came": self._came.copy(),
            "drift": self._drift.copy(),
            **with_prefix("judge.", self.judge.small()),
            **with_prefix("scaler.", self._scaler.arrays()),
            **with_prefix("glm.", self._glm.small()),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of a model made with the same arguments."""
        self.labels, self._came = arrays["labels"].copy(), arrays["came"].copy()
        self._total, self._drift = arrays["total"].copy(), arrays["drift"].copy()
        self.judge.restore(without_prefix("judge.", arrays))
        self._scaler.restore(without_prefix("scaler.", arrays))
        self._glm.restore(without_prefix("glm.", arrays))
