"""One model: features scaled on the way, chances for points, outcomes judged and then learned.

The names of the arrays in `small` are stored; everything else is free.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.learners.online_glm import OnlineGlm
from operators.learners.scaling import OnlineScaler
from operators.learners.table import Kept, with_prefix, without_prefix
from operators.propensity.progressive import Progressive

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from operators.learners.table import Arrays

    Floats = NDArray[np.float64]

BLOCK = 16
LARGEST_SCORE = 3.0
"""Standard scores are cut there: in a shop's first weeks every day brings points beyond all that were
learned from, and a line drawn on that far says nothing."""
LEARNING_RATE = 0.05
"""On `rees46` .02 to .1 came to the same AUC; .05 was the best calibrated after few labels."""
RECENT_LABELS = 2000
"""Half-life, in outcomes, of what sets the level of all predictions: long enough that chance moves it
by a hundredth only, and short beside a season."""
_PRIOR_LABELS = 50.0


class ChanceModel(Kept):
    """The chance of something, from points float64[n, F].

    Weights are slow to follow a shop that changes, so chances are set to the level of recent outcomes:
    recalibration in the large (Steyerberg, *Clinical Prediction Models*, 2009, chapter 20).
    It says nothing (nan) before it has learned `labels_min` outcomes of either kind.
    """

    def __init__(self, n_features: int, labels_min: int) -> None:
        self.labels_min = labels_min
        self.judge = Progressive()
        self.rule = Progressive()
        """The same judge for a plain rule, whose scores come with the outcomes."""
        self.labels = np.zeros(2, np.int64)
        """Outcomes learned: those that were 0, those that were 1."""
        self._scaler = OnlineScaler(n_features)
        self._glm = OnlineGlm(1 + n_features, "logistic", LEARNING_RATE)
        # Of recent outcomes: those that were 1, what the weights make of the same points, all.
        self._recent: Floats = np.zeros(3)

    @property
    def ready(self) -> bool:
        """Whether it has seen enough."""
        return bool(self.labels.min() >= self.labels_min)

    def predict(self, points: Floats) -> Floats:
        """The chance for each point, nan before it is ready."""
        if not self.ready:
            return np.full(len(points), np.nan)
        chances = self._glm.predict(with_ones(self._scaler, points))
        weighed: Floats = chances * self._odds_ratio
        weighed /= 1.0 - chances + weighed
        return weighed

    @property
    def _odds_ratio(self) -> float:
        """By how much odds were higher lately than the weights say."""
        came, said, n = self._recent.tolist()
        if not n:
            return 1.0
        middle = _PRIOR_LABELS * (came + said) / (2.0 * n)
        rate, expected = (
            (came + middle) / (n + _PRIOR_LABELS),
            (said + middle) / (n + _PRIOR_LABELS),
        )
        ratio: float = rate / (1.0 - rate) * (1.0 - expected) / expected
        return ratio

    def learn(self, points: Floats, said: Floats, outcomes: Floats, rule: Floats) -> None:
        """Outcomes [n] of points, oldest first, of which it had `said` a chance (nan: nothing).

        `rule` is what a plain rule says of each, between 0 and 1.
        """
        judged = ~np.isnan(said)
        self.judge.take(said[judged], outcomes[judged])
        self.rule.take(rule[judged], outcomes[judged])
        for start in range(0, len(points), BLOCK):
            block, truth = points[start : start + BLOCK], outcomes[start : start + BLOCK]
            self._scaler.learn_array(block)
            if not self.ready:
                # The rate itself needs no learning.
                no, yes = self.labels.tolist()
                self._glm.weights[0] = math.log((yes + 0.5) / (no + 0.5))
            scaled = with_ones(self._scaler, block)
            self._glm.learn(scaled, truth, len(block) / BLOCK)
            yes = int(truth.sum())
            self.labels += (len(truth) - yes, yes)
            if self.ready:
                self._recent *= 0.5 ** (len(block) / RECENT_LABELS)
                self._recent += (yes, self._glm.predict(scaled).sum(), len(block))

    def small(self) -> Arrays:
        """The whole state."""
        return {
            "labels": self.labels.copy(),
            "recent": self._recent.copy(),
            **with_prefix("judge.", self.judge.small()),
            **with_prefix("rule.", self.rule.small()),
            **with_prefix("scaler.", self._scaler.arrays()),
            **with_prefix("glm.", self._glm.small()),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of a model made with the same arguments."""
        self.labels = arrays["labels"].copy()
        self._recent = arrays.get("recent", np.zeros(3)).copy()
        self.judge.restore(without_prefix("judge.", arrays))
        self.rule.restore(without_prefix("rule.", arrays))
        self._scaler.restore(without_prefix("scaler.", arrays))
        self._glm.restore(without_prefix("glm.", arrays))


def with_ones(scaler: OnlineScaler, points: Floats) -> Floats:
    """Standard scores beside a column of ones."""
    scaled = np.ones((len(points), 1 + points.shape[1]))
    scaled[:, 1:] = np.clip(scaler.transform_array(points), -LARGEST_SCORE, LARGEST_SCORE)
    return scaled
