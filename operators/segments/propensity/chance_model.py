"""One model: features scaled on the way, chances for points, outcomes judged and then learned.

The names of the arrays in `scalars` are stored; everything else is free.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.models.online_glm import OnlineGlm
from operators.models.scaling import OnlineScaler
from operators.segments.propensity.prequential import PrequentialEvaluation
from operators.tables.table import TableState, add_prefix, strip_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Floats = NDArray[np.float64]

BLOCK = 16
SCORE_MAX = 3.0
"""Standard scores are cut there: in a shop's first weeks every day brings points beyond all that were
learned from, and a line drawn on that far says nothing."""
LEARNING_RATE = 0.05
"""On `rees46` .02 to .1 came to the same AUC; .05 was the best calibrated after few labels."""
RECENT_LABELS, RECENT_LATE_LABELS = 2000, 10_000
"""Half-life, in outcomes, of what sets the level of all predictions: long enough that chance moves it
by a hundredth only, and short beside a season; longer where other corrections follow the shop."""
PARTIAL_WEIGHT = 4.0
"""Outcomes that are partly known count so much more: they are of now, the others weeks old. On
`online_retail` the largest error of the mean chance at any time of four months was .12 without them."""
DRIFT_LABELS = 20_000
"""Half-life, in outcomes, of how far off predictions were, which is taken off again: a shop that shrinks
or grows has moved on by the time outcomes are known. On `online_retail` the mean of all chances was .029
too high over four months without both, .007 with them."""
_PRIOR_LABELS = 50.0


class Condition(NamedTuple):
    """The condition of a chance: what was said of it [n], whether it came true [n]."""

    predicted: Floats
    held: NDArray[np.bool_]


class ChanceModel(TableState):
    """The chance of something, from points float64[n, F].

    Weights are slow to follow a shop that changes, so chances are set to the level of recent outcomes:
    recalibration in the large (Steyerberg, *Clinical Prediction Models*, 2009, chapter 20).
    It says nothing (nan) before it has learned `labels_min` outcomes of either kind.
    """

    def __init__(self, n_features: int, labels_min: int, *, is_late: bool = False) -> None:
        self.is_late = is_late
        """Whether outcomes are so late that the shop has moved on by then."""
        self.labels_min = labels_min
        self.evaluation = PrequentialEvaluation()
        self.rule_evaluation = PrequentialEvaluation()
        """The same judge for a plain rule, whose scores come with the outcomes."""
        self.labels = np.zeros(2, np.int64)
        """Outcomes learned: those that were 0, those that were 1."""
        self._scaler = OnlineScaler(n_features)
        self._glm = OnlineGlm(1 + n_features, "logistic", LEARNING_RATE)
        # Of recent outcomes: those that were 1, what the weights make of the same points, all.
        self._recent: Floats = np.zeros(3)
        # Of predictions that were judged: those that came true, what was said, all.
        self._drift: Floats = np.zeros(3)
        # Outcomes learned where the condition was fulfilled: those that were 0, those that were 1.
        self._conditional_labels = np.zeros(2, np.int64)
        # As `_recent`, of outcomes that are not known yet, as far as they are.
        self._partial: Floats = np.zeros(3)

    @property
    def ready(self) -> bool:
        """Whether it has seen enough."""
        return bool(self.labels.min() >= self.labels_min)

    def predict(self, points: Floats) -> Floats:
        """The chance for each point, nan before it is ready."""
        if not self.ready:
            return np.full(len(points), np.nan)
        return self.estimate(points)

    def estimate(self, points: Floats) -> Floats:
        """The chance for each point, whatever it rests on."""
        chances = self._glm.predict(with_ones(self._scaler, points))
        level = self._recent + PARTIAL_WEIGHT * self._partial
        ratio = _odds_ratio(level) * (_odds_ratio(self._drift) if self.is_late else 1.0)
        odds: Floats = chances * ratio
        odds /= 1.0 - chances + odds
        return odds

    def set_partial_outcomes(self, came_true: Floats, points: Floats, known_share: Floats) -> None:
        """Outcomes that are not known yet, as far as they are: those [n] that came true, and which share
        `known_share` [n] of all that come true of points [n, F] has done so by now."""
        weights = known_share.sum()
        expected = self._glm.predict(with_ones(self._scaler, points)) @ known_share
        self._partial = np.array([came_true.sum(), expected, weights])

    def learn(
        self,
        points: Floats,
        predicted: Floats,
        outcomes: Floats,
        rule_scores: Floats,
        condition: Condition | None = None,
    ) -> None:
        """Outcomes [n] of points, oldest first, of which it had `predicted` a chance (nan: nothing).

        `rule` is what a plain rule says of each, between 0 and 1. With a condition `predicted` is
        the chance
        that both come true, by which it is judged; what is learned is the chance given the condition.
        """
        has_prediction = ~np.isnan(predicted)
        self.evaluation.update(predicted[has_prediction], outcomes[has_prediction])
        self.rule_evaluation.update(rule_scores[has_prediction], outcomes[has_prediction])
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
        has_prediction = ~np.isnan(predicted)
        self._drift *= 0.5 ** (has_prediction.sum() / DRIFT_LABELS)
        self._drift += (
            outcomes[has_prediction].sum(),
            predicted[has_prediction].sum(),
            has_prediction.sum(),
        )
        self._fit(points, outcomes, is_young=not was_ready)

    def _fit(self, points: Floats, outcomes: Floats, *, is_young: bool) -> None:
        recent = RECENT_LATE_LABELS if self.is_late else RECENT_LABELS
        for start in range(0, len(points), BLOCK):
            block, truth = points[start : start + BLOCK], outcomes[start : start + BLOCK]
            self._scaler.learn_array(block)
            if is_young:
                # The rate itself needs no learning.
                no, yes = self._conditional_labels.tolist()
                self._glm.weights[0] = math.log((yes + 0.5) / (no + 0.5))
            scaled = with_ones(self._scaler, block)
            # Before they learn of these: afterwards they know them better than any others.
            expected = self._glm.predict(scaled).sum()
            self._glm.learn(scaled, truth, len(block) / BLOCK)
            yes = int(truth.sum())
            self._conditional_labels += (len(truth) - yes, yes)
            if not is_young:
                self._recent *= 0.5 ** (len(block) / recent)
                self._recent += (yes, expected, len(block))

    def scalars(self) -> Arrays:
        """The whole state."""
        return {
            "labels": self.labels.copy(),
            "recent": self._recent.copy(),
            "drift": self._drift.copy(),
            "given": self._conditional_labels.copy(),
            "so_far": self._partial.copy(),
            **add_prefix("judge.", self.evaluation.scalars()),
            **add_prefix("rule.", self.rule_evaluation.scalars()),
            **add_prefix("scaler.", self._scaler.arrays()),
            **add_prefix("glm.", self._glm.scalars()),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of a model made with the same arguments."""
        self.labels = arrays["labels"].copy()
        self._recent, self._drift = arrays["recent"].copy(), arrays["drift"].copy()
        self._conditional_labels = arrays["given"].copy()
        self._partial = arrays["so_far"].copy()
        self.evaluation.restore(strip_prefix("judge.", arrays))
        self.rule_evaluation.restore(strip_prefix("rule.", arrays))
        self._scaler.restore(strip_prefix("scaler.", arrays))
        self._glm.restore(strip_prefix("glm.", arrays))


def _odds_ratio(sums: Floats) -> float:
    """By how much odds were higher than was said, of sums of what came true, what was said, and all."""
    observed, predicted, n = sums.tolist()
    if not n:
        return 1.0
    prior = _PRIOR_LABELS * (observed + predicted) / (2.0 * n)
    rate, expected = (
        (observed + prior) / (n + _PRIOR_LABELS),
        (predicted + prior) / (n + _PRIOR_LABELS),
    )
    # Where all or none came true there is still a little chance of the other.
    rate, expected = (min(max(share, 1e-4), 1.0 - 1e-4) for share in (rate, expected))
    ratio: float = rate / (1.0 - rate) * (1.0 - expected) / expected
    return ratio


def with_ones(scaler: OnlineScaler, points: Floats) -> Floats:
    """Standard scores beside a column of ones."""
    scaled = np.ones((len(points), 1 + points.shape[1]))
    scaled[:, 1:] = np.clip(scaler.transform_array(points), -SCORE_MAX, SCORE_MAX)
    return scaled
