"""The weekly models: chance of a purchase, chance of churn, expected value.

Decisions are taken at times of event time. A decision sees its shopper as known at its time, and
gets the predictions of the models of that time. It is evaluated and learned when its labels are
complete, all after the same wait. The names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.segments.propensity.amount_model import AmountModel
from operators.segments.propensity.chance_model import ChanceModel, ConditionOutcome
from operators.segments.propensity.decision_times import (
    TICK_MS,
    PendingObservations,
    key_of,
    ticks_between,
)
from operators.segments.propensity.delayed_labels import NEVER_MS, DelayedLabels
from operators.segments.propensity.estimators import named_classifier, named_metrics
from operators.segments.propensity.features import (
    DAYS_SINCE_PURCHASE,
    DAYS_SINCE_SEEN,
    HAS_PURCHASE,
    SHOPPER_FEATURES,
)
from operators.tables.table import TableState, add_prefix, strip_prefix
from state.money import MICROS_PER_UNIT
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.events.processing_errors import ProcessingErrors
    from operators.segments.propensity.decision_times import Keys
    from operators.segments.propensity.delayed_labels import MatureLabels
    from operators.segments.propensity.feature_store import LatestFeatures
    from operators.tables.table import Arrays, Table
    from state import config
    from state.arrays import Rows, Times
    from state.messages import ShopperObservation

    Floats = NDArray[np.float64]

WAITING_MAX = 20_000
AWAY_PARTS = 60
"""The churn period is divided in so many parts to count how long returned shoppers were away: half
a day of 30."""


class WeeklyModels(TableState):
    """Three models and the decisions they learn from.

    Who buys within the horizon returns within it. So, where the horizon is not longer than the
    churn period, the chance to buy is the chance to return times the chance to buy given a return:
    this chance and the chance of churn never sum to more than 1.
    """

    def __init__(self, settings: config.Propensity, errors: ProcessingErrors | None = None) -> None:
        self._churn_ms = settings.churn_days * DAY_MS
        self._excludes = settings.horizon_days <= settings.churn_days
        labels_min, features = settings.labels_min, len(SHOPPER_FEATURES)
        self.buys, self.churn = (
            ChanceModel(
                features,
                labels_min,
                is_late=True,
                estimator=named_classifier(settings, SHOPPER_FEATURES, errors),
                metrics=named_metrics(settings, errors),
            )
            for _ in range(2)
        )
        self.value = AmountModel(features, labels_min)
        self._period = ticks_between(settings)
        spend_ms = settings.horizon_days * DAY_MS
        wait_ms = max(spend_ms, self._churn_ms)
        self._decisions_max = -(-WAITING_MAX // max(1, self._period))
        self._seed = settings.seed
        self._observations = PendingObservations(self._period)
        self._labels = DelayedLabels(wait_ms, spend_ms, 3)
        # How long returned shoppers were away, in parts of the churn period, since the first start.
        self._away = np.zeros(AWAY_PARTS)
        self._reached_ms = 0

    def __len__(self) -> int:
        """The number of pending decisions."""
        return len(self._labels)

    def predict(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Return the chance to buy, the chance of churn, the amount; nan where a model is not
        ready."""
        buys = self.buys.predict(points)
        if self._excludes:
            buys *= 1.0 - self.churn.estimate(points)
        return buys, self.churn.predict(points), self.value.predict(points)

    def observe(self, observations: Sequence[ShopperObservation]) -> None:
        """Store the observations of a batch."""
        self._observations.observe(observations, self._reached_ms)

    def erase(self, key: int) -> None:
        """Delete what is stored of an erased shopper."""
        self._observations.erase(key)
        self._labels.erase(key)

    def advance_to(
        self,
        features: LatestFeatures,
        names: Sequence[str],
        idle_ms: Callable[[], Times],
        watermark_ms: int,
    ) -> None:
        """Take the decisions before an event time, and learn the labels that are complete by
        then."""
        if watermark_ms <= self._reached_ms:
            return
        if -(-self._reached_ms // TICK_MS) * TICK_MS < watermark_ms:
            self._run_decision_times(features, names, idle_ms(), watermark_ms)
        self._labels.observe(self._observations.take_observations(watermark_ms - 1))
        self._reached_ms = watermark_ms

    def _run_decision_times(
        self, features: LatestFeatures, names: Sequence[str], idle_ms: Times, watermark_ms: int
    ) -> None:
        at_ms, rows = features.decisions_due(
            names, self._reached_ms, watermark_ms, idle_ms, self._period
        )
        stored_ms = [one for one in self._observations.decision_times_ms if one < watermark_ms]
        ticks_ms = iter([*sorted({*at_ms.tolist(), *stored_ms}), NEVER_MS])
        next_ms = next(ticks_ms)
        while (now_ms := min(next_ms, self._labels.next_due_ms())) < watermark_ms:
            self._labels.observe(self._observations.take_observations(now_ms))
            self._learn_matured(self._labels.take_matured(now_ms))
            if now_ms % DAY_MS == 0:
                self._update_churn_level(now_ms)
            if now_ms == next_ms:
                start, end = np.searchsorted(at_ms, (now_ms, now_ms + 1))
                self._take_decisions(features, names, rows[start:end], now_ms)
                next_ms = next(ticks_ms)

    def _take_decisions(
        self, features: LatestFeatures, names: Sequence[str], rows: Rows, now_ms: int
    ) -> None:
        """Take the decisions of one time: of the stored points, and of shoppers inactive since."""
        of_key = self._observations.take_points(now_ms)
        keys = np.array([*of_key], np.uint64)
        stored = np.array([*of_key.values()], np.float32).reshape(-1, len(SHOPPER_FEATURES))
        own = np.array([key_of(names[row]) for row in rows.tolist()], np.uint64)
        is_new = ~np.isin(own, keys)
        points = np.concatenate([stored, features.points(rows[is_new], now_ms).astype(np.float32)])
        keys = np.concatenate([keys, own[is_new]])
        chosen = np.flatnonzero(~np.isnan(points[:, 0]))
        chosen = chosen[_shuffled(keys[chosen], now_ms + self._seed).argsort()][
            : self._decisions_max
        ]
        chosen = chosen[keys[chosen].argsort()]
        decided = points[chosen].astype(np.float64)
        self._labels.add(keys[chosen], now_ms, decided, np.column_stack(self.predict(decided)))

    def _update_churn_level(self, now_ms: int) -> None:
        """Update the level of churn: shoppers who returned so far show it long before labels are
        complete."""
        total = self._away.sum()
        if not total:
            return
        partial = self._labels.partial_outcomes(now_ms)
        part = partial.age_ms * AWAY_PARTS / self._churn_ms
        parts = np.arange(AWAY_PARTS + 1)
        known_share = np.interp(part, parts, np.append(0.0, np.cumsum(self._away) / total))
        # The model predicts who stays away: the complement of who returned.
        self.churn.set_partial_outcomes(
            known_share - partial.has_returned, partial.points, known_share
        )

    def _learn_matured(self, labels: MatureLabels) -> None:
        if not len(labels.points):
            return
        points, predicted = labels.points, labels.predicted
        bought = (labels.bought_ms > 0).astype(np.float64)
        # A simple rule for each: recent buyers buy, shoppers who are away for long stay away.
        away = 1.0 - np.exp(-points[:, DAYS_SINCE_SEEN])
        lately = points[:, HAS_PURCHASE] * np.exp(-points[:, DAYS_SINCE_PURCHASE])
        until_ms = labels.decided_ms + self._churn_ms
        has_returned = (labels.returned_ms > 0) & (labels.returned_ms <= until_ms)
        has_returned |= (labels.bought_ms > 0) & (labels.bought_ms <= until_ms)
        condition = (
            ConditionOutcome(1.0 - predicted[:, 1], has_returned) if self._excludes else None
        )
        self.buys.learn(points, predicted[:, 0], bought, lately, condition)
        away_ms = (labels.returned_ms - labels.decided_ms)[has_returned & (labels.returned_ms > 0)]
        parts = np.minimum(away_ms * AWAY_PARTS // self._churn_ms, AWAY_PARTS - 1)
        self._away += np.bincount(parts, minlength=AWAY_PARTS)
        self.churn.learn(points, predicted[:, 1], (~has_returned).astype(np.float64), away)
        self.value.learn(points, predicted[:, 2], labels.spent_micros / MICROS_PER_UNIT)

    def tables(self) -> Sequence[Table]:
        """The pending decisions, and the models where they are large."""
        models = {"buys.": self.buys, "churn.": self.churn}
        of_models = (
            table.prefixed(prefix) for prefix, model in models.items() for table in model.tables()
        )
        return [*self._labels.tables(), *of_models]

    def scalars(self) -> Arrays:
        """Models and evaluations, and the stored observations."""
        return {
            "reached": np.array([self._reached_ms]),
            "away": self._away.copy(),
            **add_prefix("hearing.", self._observations.scalars()),
            **add_prefix("buys.", self.buys.scalars()),
            **add_prefix("churn.", self.churn.scalars()),
            **add_prefix("value.", self.value.scalars()),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned, of an object with the same arguments."""
        self._reached_ms = int(arrays["reached"][0])
        self._away = arrays["away"].copy()
        self._observations.restore(strip_prefix("hearing.", arrays))
        self._labels.restore({name: one for name, one in arrays.items() if "." not in name})
        self.buys.restore(strip_prefix("buys.", arrays))
        self.churn.restore(strip_prefix("churn.", arrays))
        self.value.restore(strip_prefix("value.", arrays))


def _shuffled(keys: Keys, salt: int) -> Keys:
    """Return keys in a pseudo-random order, different for each salt (the finalizer of
    SplitMix64)."""
    mixed = keys ^ np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
