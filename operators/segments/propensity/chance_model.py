"""A model of a chance: online scaling, logistic regression, recalibration, online evaluation.

The names of the arrays in `scalars` are stored; everything else may be changed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.events.processing_errors import ProcessingErrors
from operators.kernels.training.chances import estimate_chances, learn_chances
from operators.models.online_glm import RAW_SCORE_MAX, OnlineLogisticRegression
from operators.models.river.named_classifier import NamedClassifier
from operators.models.river.named_metrics import NamedMetrics
from operators.models.scaling import OnlineScaler
from operators.segments.propensity.prequential import PrequentialEvaluation
from operators.tables.table import TableState, add_prefix, strip_prefix
from state.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays, Table

    Floats = NDArray[np.float64]

log = logging.getLogger("penstock.models")

BLOCK = 16
SCORE_MAX = 3.0
"""Standard scores are clipped there: in a shop's first weeks every day brings points beyond all
that were learned, and the model cannot extrapolate that far."""
LEARNING_RATE = 0.05
"""On `rees46` .02 to .1 gave the same AUC; .05 was the best calibrated after few labels."""
RECENT_LABELS, RECENT_LATE_LABELS = 2000, 10_000
"""Half-life, in outcomes, of the recalibration: long enough that chance moves it by a hundredth
only, and short beside a season; longer where other corrections follow the shop."""
PARTIAL_WEIGHT = 4.0
"""Weight of partly known outcomes: they are recent, complete ones are weeks old. On `online_retail`
the largest error of the mean chance at any time of four months was .12 without them."""
DRIFT_LABELS = 20_000
"""Half-life, in outcomes, of the drift correction: a shop that shrinks or grows has moved on by the
time outcomes are known. On `online_retail` the mean of all chances was .029 too high over four
months without both corrections, .007 with them."""
_PRIOR_LABELS = 50.0


class ConditionOutcome(NamedTuple):
    """The condition of a conditional chance: its prediction [n], and whether it held [n]."""

    predicted: Floats
    held: NDArray[np.bool_]


class ChanceModel(TableState):
    """The chance of an event, for points float64[n, F].

    Weights follow a changing shop slowly, so chances are set to the level of recent outcomes:
    recalibration in the large (Steyerberg, *Clinical Prediction Models*, 2009, chapter 20). It
    predicts nothing (nan) before it has learned `labels_min` outcomes of either kind.

    estimator: what learns in place of our logistic regression, from the same standard scores.
    """

    def __init__(
        self,
        n_features: int,
        labels_min: int,
        *,
        is_late: bool = False,
        estimator: NamedClassifier | None = None,
        metrics: NamedMetrics | None = None,
    ) -> None:
        self.is_late = is_late
        """Whether labels arrive so late that the shop has changed by then."""
        self.labels_min = labels_min
        self.evaluation = PrequentialEvaluation()
        self.metrics = metrics or NamedMetrics({}, ProcessingErrors("propensity"))
        """What the configuration asks for beside `evaluation`."""
        self.rule_evaluation = PrequentialEvaluation()
        """The evaluation of a simple rule, whose scores come with the outcomes."""
        self.labels = np.zeros(2, np.int64)
        """The number of outcomes learned: negative, positive."""
        self._scaler = OnlineScaler(n_features)
        self._estimator: OnlineLogisticRegression | NamedClassifier = (
            estimator or OnlineLogisticRegression(LEARNING_RATE, n_features=n_features)
        )
        # Decayed sums over recent outcomes: positives, the weights' predictions, count.
        self._recent: Floats = np.zeros(3)
        # Decayed sums over predictions: positives, predictions, count.
        self._drift: Floats = np.zeros(3)
        # Outcomes learned where the condition held: negative, positive.
        self._conditional_labels = np.zeros(2, np.int64)
        # As `_recent`, of partly known outcomes.
        self._partial: Floats = np.zeros(3)

    @property
    def algorithm(self) -> str:
        """What learns: the name of our model, or the expression of the configuration."""
        return self._estimator.algorithm

    @property
    def failures(self) -> int:
        """Blocks of outcomes that a named estimator could not learn."""
        return self._estimator.failures if isinstance(self._estimator, NamedClassifier) else 0

    @property
    def ready(self) -> bool:
        """Whether it has learned enough outcomes to predict."""
        return bool(self.labels.min() >= self.labels_min)

    def predict(self, points: Floats) -> Floats:
        """Return the chance for each point, nan before the model is ready."""
        if not self.ready:
            return np.full(len(points), np.nan)
        return self.estimate(points)

    def estimate(self, points: Floats) -> Floats:
        """Return the chance for each point, also before the model is ready."""
        level = self._recent + PARTIAL_WEIGHT * self._partial
        ratio = _odds_ratio(level) * (_odds_ratio(self._drift) if self.is_late else 1.0)
        return self._estimate(points, ratio)

    def _estimate(self, points: Floats, odds_ratio: float) -> Floats:
        """Return what the estimator says of each point, its odds multiplied by `odds_ratio`."""
        estimator, scaler = self._estimator, self._scaler
        if isinstance(estimator, NamedClassifier):
            chances = estimator.predict_array(standard_scores(scaler, points))
            odds: Floats = chances * odds_ratio
            odds /= 1.0 - chances + odds
            return odds
        estimated = np.empty(len(points))
        estimate_chances(
            np.ascontiguousarray(points),
            estimator.weights,
            scaler.mean,
            scaler.inverse_std,
            SCORE_MAX,
            RAW_SCORE_MAX,
            odds_ratio,
            estimated,
        )
        return estimated

    def set_partial_outcomes(self, came_true: Floats, points: Floats, known_share: Floats) -> None:
        """Set the partly known outcomes: the positive ones [n] of points [n, F], and the share of
        all positives of such an age that is known by then, `known_share` [n]."""
        weights = known_share.sum()
        expected = self._estimate(points, 1.0) @ known_share
        self._partial = np.array([came_true.sum(), expected, weights])

    def learn(
        self,
        points: Floats,
        predicted: Floats,
        outcomes: Floats,
        rule_scores: Floats,
        condition: ConditionOutcome | None = None,
    ) -> None:
        """Learn outcomes [n] of points, oldest first, with the `predicted` chances (nan for none).

        `rule_scores` are those of a simple rule, between 0 and 1. With a condition, `predicted` is
        the chance that both the condition and the event come true, and is evaluated as such; what
        is learned is the chance given the condition.
        """
        known = ~np.isnan(predicted)
        if known.any():
            self.evaluation.update(predicted[known], outcomes[known])
            self.metrics.update(predicted[known], outcomes[known])
            self.rule_evaluation.update(rule_scores[known], outcomes[known])
        yes = int(outcomes.sum())
        was_ready = self.ready
        self.labels += (len(outcomes) - yes, yes)
        if condition is not None:
            conditional = np.full(len(predicted), np.nan)
            np.divide(
                predicted, condition.predicted, out=conditional, where=condition.predicted > 0
            )
            held = condition.held
            points, predicted, outcomes = points[held], conditional[held], outcomes[held]
            known = ~np.isnan(predicted)
        if count := int(np.count_nonzero(known)):
            self._drift *= 0.5 ** (count / DRIFT_LABELS)
            self._drift += (outcomes[known].sum(), predicted[known].sum(), count)
        self._fit(points, outcomes, is_young=not was_ready)

    def _fit(self, points: Floats, outcomes: Floats, *, is_young: bool) -> None:
        half_life = RECENT_LATE_LABELS if self.is_late else RECENT_LABELS
        estimator, scaler = self._estimator, self._scaler
        if isinstance(estimator, NamedClassifier):
            self._fit_named(estimator, points, outcomes, half_life, is_young=is_young)
            return
        scaler.weight = learn_chances(
            np.ascontiguousarray(points),
            np.ascontiguousarray(outcomes),
            BLOCK,
            is_young,
            half_life,
            SCORE_MAX,
            RAW_SCORE_MAX,
            LEARNING_RATE,
            scaler.weight,
            scaler.mean,
            scaler.squares,
            scaler.std,
            scaler.inverse_std,
            estimator.weights,
            estimator.squares,
            self._conditional_labels,
            self._recent,
        )

    def _fit_named(
        self,
        estimator: NamedClassifier,
        points: Floats,
        outcomes: Floats,
        half_life: float,
        *,
        is_young: bool,
    ) -> None:
        for start in range(0, len(points), BLOCK):
            block, truth = points[start : start + BLOCK], outcomes[start : start + BLOCK]
            self._scaler.learn_array(block)
            if is_young:
                # The base rate needs no learning.
                no, yes = self._conditional_labels.tolist()
                estimator.set_base_rate(no, yes)
            scaled = standard_scores(self._scaler, block)
            # Predicted before the outcomes are learned: after it they would fit too well.
            expected = estimator.predict_array(scaled).sum()
            estimator.learn_array(scaled, truth, len(block) / BLOCK)
            yes = int(truth.sum())
            self._conditional_labels += (len(truth) - yes, yes)
            if not is_young:
                self._recent *= 0.5 ** (len(block) / half_life)
                self._recent += (yes, expected, len(block))

    def tables(self) -> Sequence[Table]:
        """The estimator, where it is large."""
        parts: dict[str, TableState] = {"glm.": self._estimator, "metrics.": self.metrics}
        return [one.prefixed(prefix) for prefix, part in parts.items() for one in part.tables()]

    def scalars(self) -> Arrays:
        """The rest of the state."""
        return {
            "labels": self.labels.copy(),
            "recent": self._recent.copy(),
            "drift": self._drift.copy(),
            "given": self._conditional_labels.copy(),
            "so_far": self._partial.copy(),
            **add_prefix("judge.", self.evaluation.scalars()),
            **add_prefix("rule.", self.rule_evaluation.scalars()),
            **add_prefix("scaler.", self._scaler.arrays()),
            **add_prefix("glm.", self._estimator.scalars()),
            **add_prefix("metrics.", self.metrics.scalars()),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned; of another estimator, nothing.

        It starts from empty then, as does what was measured of the other one.
        """
        try:
            self._estimator.restore(strip_prefix("glm.", arrays))
        except SnapshotError as error:
            log.warning("a model of a chance starts from empty: %s", error)
            return
        self.labels = arrays["labels"].copy()
        self._recent, self._drift = arrays["recent"].copy(), arrays["drift"].copy()
        self._conditional_labels = arrays["given"].copy()
        self._partial = arrays["so_far"].copy()
        self.evaluation.restore(strip_prefix("judge.", arrays))
        self.metrics.restore(strip_prefix("metrics.", arrays))
        self.rule_evaluation.restore(strip_prefix("rule.", arrays))
        self._scaler.restore(strip_prefix("scaler.", arrays))


def _odds_ratio(sums: Floats) -> float:
    """Return the ratio of observed to predicted odds, from sums of positives, predictions, and
    count."""
    observed, predicted, n = sums.tolist()
    if not n:
        return 1.0
    prior = _PRIOR_LABELS * (observed + predicted) / (2.0 * n)
    rate, expected = (
        (observed + prior) / (n + _PRIOR_LABELS),
        (predicted + prior) / (n + _PRIOR_LABELS),
    )
    # A rate of 0 or 1 is kept a little away from these.
    rate, expected = (min(max(share, 1e-4), 1.0 - 1e-4) for share in (rate, expected))
    ratio: float = rate / (1.0 - rate) * (1.0 - expected) / expected
    return ratio


def standard_scores(scaler: OnlineScaler, points: Floats) -> Floats:
    """Return standard scores within `SCORE_MAX`."""
    return np.clip(scaler.transform_array(points), -SCORE_MAX, SCORE_MAX)
