"""Prequential evaluation: predictions against outcomes as they become known. AUC, log loss,
calibration.

It keeps sums only, so that its snapshot is small and exact. The names of the arrays are stored.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.kernels.training.chances import evaluate_chances
from operators.tables.table import TableState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Floats = NDArray[np.float64]

BINS = 128
LOGIT_MAX = 8.0
"""Scores are counted by their log odds in `BINS` bins within this: two scores in one bin count as
tied, which moves an AUC by a thousandth."""
RELIABILITY_BINS = 10


class Reliability(NamedTuple):
    """A tenth of all predictions: count, mean prediction, share of positives."""

    n: int
    predicted: float
    observed: float


class PrequentialEvaluation(TableState):
    """Compares chances with outcomes. The past decays: after `half_life` labels it counts half.

    >>> judge = PrequentialEvaluation()
    >>> judge.update(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.0, 0.0, 1.0, 1.0]))
    >>> judge.auc, round(judge.log_loss, 4)
    (0.75, 0.4723)
    """

    def __init__(self, half_life: float = 65_536.0) -> None:
        self.half_life = half_life
        self.labels = 0
        """Outcomes since the first start."""
        self.positives = 0
        # By bin of the score: negative outcomes, positive outcomes, sum of predictions.
        self._negative: Floats = np.zeros(BINS)
        self._positive: Floats = np.zeros(BINS)
        self._predicted: Floats = np.zeros(BINS)
        self._loss = 0.0

    def update(self, chances: Floats, outcomes: Floats) -> None:
        """Add chances [n] that were predicted, and their outcomes [n], 0 or 1."""
        n = len(chances)
        if not n:
            return
        self._loss = evaluate_chances(
            np.ascontiguousarray(chances),
            np.ascontiguousarray(outcomes),
            self.half_life,
            LOGIT_MAX,
            self._loss,
            self._negative,
            self._positive,
            self._predicted,
        )
        self.labels += n
        self.positives += int(outcomes.sum())

    @property
    def auc(self) -> float:
        """The chance that a positive is scored above a negative; nan before both were observed."""
        below = np.cumsum(self._negative) - self._negative / 2.0
        pairs = self._negative.sum() * self._positive.sum()
        return float(self._positive @ below / pairs) if pairs > 0 else math.nan

    @property
    def rate(self) -> float:
        """The share of positive outcomes, nan before the first."""
        weight = self._weight
        return float(self._positive.sum() / weight) if weight else math.nan

    @property
    def predicted(self) -> float:
        """The mean prediction, nan before the first."""
        weight = self._weight
        return float(self._predicted.sum() / weight) if weight else math.nan

    @property
    def log_loss(self) -> float:
        """The mean of minus the logarithm of the predicted chance of the outcome, nan before the
        first."""
        weight = self._weight
        return self._loss / weight if weight else math.nan

    @property
    def log_loss_of_rate(self) -> float:
        """The log loss of a constant model that knows the rate of all outcomes."""
        rate = self.rate
        if not 0.0 < rate < 1.0:
            return 0.0 if rate in (0.0, 1.0) else math.nan
        return -rate * math.log(rate) - (1.0 - rate) * math.log(1.0 - rate)

    @property
    def calibration_error(self) -> float:
        """The expected calibration error over tenths of the predictions (Naeini, Cooper and
        Hauskrecht 2015, with bins of equal size): 0 is best, nan before the first."""
        bins = self.reliability()
        total = sum(one.n for one in bins)
        if not total:
            return math.nan
        return sum(one.n * abs(one.predicted - one.observed) for one in bins) / total

    def reliability(self) -> list[Reliability]:
        """Return tenths of the predictions, the lowest first; fewer where many are equal."""
        weights = self._negative + self._positive
        total = weights.sum()
        if not total:
            return []
        middle = np.cumsum(weights) - weights / 2.0
        tenth = np.minimum(
            (middle * RELIABILITY_BINS / total).astype(np.intp), RELIABILITY_BINS - 1
        )
        n = np.bincount(tenth, weights, RELIABILITY_BINS)
        predicted = np.bincount(tenth, self._predicted, RELIABILITY_BINS)
        observed = np.bincount(tenth, self._positive, RELIABILITY_BINS)
        return [
            Reliability(round(n[i]), float(predicted[i] / n[i]), float(observed[i] / n[i]))
            for i in np.flatnonzero(n > 0.5)
        ]

    def scalars(self) -> Arrays:
        """All sums."""
        return {
            "negative": self._negative.copy(),
            "positive": self._positive.copy(),
            "predicted": self._predicted.copy(),
            "loss": np.array([self._loss]),
            "labels": np.array([self.labels, self.positives]),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned."""
        self._negative, self._positive = arrays["negative"].copy(), arrays["positive"].copy()
        self._predicted = arrays["predicted"].copy()
        self._loss = float(arrays["loss"][0])
        self.labels, self.positives = arrays["labels"].tolist()

    @property
    def _weight(self) -> float:
        return float(self._negative.sum() + self._positive.sum())
