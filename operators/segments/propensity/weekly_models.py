"""The chances of the next weeks: to buy, to stay away, and what is spent.

Decisions are taken at times of event time. A decision sees its shopper as known at its time, is told
with the models of that time, and is judged and learned when its outcome is known, all of them after the
same wait. The names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.segments.propensity.amount_model import AmountModel
from operators.segments.propensity.chance_model import ChanceModel, Given
from operators.segments.propensity.decision_times import TICK_MS, Hearing, key_of, ticks_between
from operators.segments.propensity.delayed_labels import NEVER_MS, Later
from operators.segments.propensity.features import (
    DAYS_SINCE_PURCHASE,
    DAYS_SINCE_SEEN,
    HAS_PURCHASE,
    SHOPPER_FEATURES,
)
from operators.tables.table import Kept, with_prefix, without_prefix
from state.money import MICROS
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.propensity.decision_times import Keys
    from operators.segments.propensity.delayed_labels import Due
    from operators.segments.propensity.feature_store import Latest
    from operators.tables.table import Arrays, Table
    from state import config
    from state.interactions import Rows, Times
    from state.messages import Heard

    Floats = NDArray[np.float64]

WAITING_MAX = 20_000
AWAY_PARTS = 60
"""Of the days of churn, in which is counted how long those who came stayed away: half a day of 30."""


class WeekChances(Kept):
    """Three models and the decisions they learn from.

    Who buys within the horizon comes within it: where the horizon is not beyond the days of churn, the
    chance to buy is that to come times that to buy if one comes, so it and the chance of churn never add
    up to more than 1.
    """

    def __init__(self, settings: config.Propensity) -> None:
        self._churn_ms = settings.churn_days * DAY_MS
        self._excludes = settings.horizon_days <= settings.churn_days
        labels_min, features = settings.labels_min, len(SHOPPER_FEATURES)
        self.buys = ChanceModel(features, labels_min, is_late=True)
        self.churn = ChanceModel(features, labels_min, is_late=True)
        self.value = AmountModel(features, labels_min)
        self._period = ticks_between(settings)
        spend_ms = settings.horizon_days * DAY_MS
        wait_ms = max(spend_ms, self._churn_ms)
        self._most = -(-WAITING_MAX // max(1, self._period))
        self._seed = settings.seed
        self._hearing = Hearing(self._period)
        self._later = Later(wait_ms, spend_ms, 3)
        # How long those who came stayed away, in parts of the days of churn, since the first start.
        self._away = np.zeros(AWAY_PARTS)
        self._reached_ms = 0

    def __len__(self) -> int:
        """Decisions that wait."""
        return len(self._later)

    def of_points(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """The chance to buy, that of churn, the amount expected; nan where one says nothing yet."""
        buys = self.buys.predict(points)
        if self._excludes:
            buys *= 1.0 - self.churn.estimate(points)
        return buys, self.churn.predict(points), self.value.predict(points)

    def hear(self, heard: Sequence[Heard]) -> None:
        """Take in what a batch tells."""
        self._hearing.hear(heard, self._reached_ms)

    def forget(self, key: int) -> None:
        """A shopper was erased."""
        self._hearing.forget(key)
        self._later.forget(key)

    def reach(
        self,
        latest: Latest,
        names: Sequence[str],
        idle_ms: Callable[[], Times],
        watermark_ms: int,
    ) -> None:
        """Take the decisions before an event time, and learn the outcomes that are known by then."""
        if watermark_ms <= self._reached_ms:
            return
        if -(-self._reached_ms // TICK_MS) * TICK_MS < watermark_ms:
            self._tick(latest, names, idle_ms(), watermark_ms)
        self._later.hear(self._hearing.take_told(watermark_ms - 1))
        self._reached_ms = watermark_ms

    def _tick(
        self, latest: Latest, names: Sequence[str], idle_ms: Times, watermark_ms: int
    ) -> None:
        at_ms, rows = latest.ticks(names, self._reached_ms, watermark_ms, idle_ms, self._period)
        told_ms = [one for one in self._hearing.ticks_ms if one < watermark_ms]
        ticks_ms = iter([*sorted({*at_ms.tolist(), *told_ms}), NEVER_MS])
        next_ms = next(ticks_ms)
        while (now_ms := min(next_ms, self._later.next_due_ms())) < watermark_ms:
            self._later.hear(self._hearing.take_told(now_ms))
            self._learn(self._later.due(now_ms))
            if now_ms % DAY_MS == 0:
                self._look(now_ms)
            if now_ms == next_ms:
                start, end = np.searchsorted(at_ms, (now_ms, now_ms + 1))
                self._take(latest, names, rows[start:end], now_ms)
                next_ms = next(ticks_ms)

    def _take(self, latest: Latest, names: Sequence[str], rows: Rows, now_ms: int) -> None:
        """Take the decisions of one time: of those told of, and of those who did nothing since."""
        of_key = self._hearing.take_points(now_ms)
        keys = np.array([*of_key], np.uint64)
        told = np.array([*of_key.values()], np.float32).reshape(-1, len(SHOPPER_FEATURES))
        own = np.array([key_of(names[row]) for row in rows.tolist()], np.uint64)
        is_new = ~np.isin(own, keys)
        points = np.concatenate([told, latest.points(rows[is_new], now_ms).astype(np.float32)])
        keys = np.concatenate([keys, own[is_new]])
        chosen = np.flatnonzero(~np.isnan(points[:, 0]))
        chosen = chosen[_shuffled(keys[chosen], now_ms + self._seed).argsort()][: self._most]
        chosen = chosen[keys[chosen].argsort()]
        seen = points[chosen].astype(np.float64)
        self._later.take(keys[chosen], now_ms, seen, np.column_stack(self.of_points(seen)))

    def _look(self, now_ms: int) -> None:
        """Who has come so far says how the shop does now, long before all outcomes are known."""
        total = self._away.sum()
        if not total:
            return
        waits = self._later.so_far(now_ms)
        part = waits.age_ms * AWAY_PARTS / self._churn_ms
        parts = np.arange(AWAY_PARTS + 1)
        known = np.interp(part, parts, np.append(0.0, np.cumsum(self._away) / total))
        # The model says who stays away: who came is the other side of it.
        self.churn.know(known - waits.came, waits.points, known)

    def _learn(self, due: Due) -> None:
        if not len(due.points):
            return
        points, said = due.points, due.said
        bought = (due.bought_ms > 0).astype(np.float64)
        # A plain rule each: who bought lately buys, who was away for long stays away.
        away = 1.0 - np.exp(-points[:, DAYS_SINCE_SEEN])
        lately = points[:, HAS_PURCHASE] * np.exp(-points[:, DAYS_SINCE_PURCHASE])
        until_ms = due.at_ms + self._churn_ms
        came = (due.came_ms > 0) & (due.came_ms <= until_ms)
        came |= (due.bought_ms > 0) & (due.bought_ms <= until_ms)
        given = Given(1.0 - said[:, 1], came) if self._excludes else None
        self.buys.learn(points, said[:, 0], bought, lately, given)
        away_ms = (due.came_ms - due.at_ms)[came & (due.came_ms > 0)]
        parts = np.minimum(away_ms * AWAY_PARTS // self._churn_ms, AWAY_PARTS - 1)
        self._away += np.bincount(parts, minlength=AWAY_PARTS)
        self.churn.learn(points, said[:, 1], (~came).astype(np.float64), away)
        self.value.learn(points, said[:, 2], due.spent_micros / MICROS)

    def tables(self) -> Sequence[Table]:
        """Decisions that wait."""
        return self._later.tables()

    def small(self) -> Arrays:
        """Models and judges, and what was heard last."""
        return {
            "reached": np.array([self._reached_ms]),
            "away": self._away.copy(),
            **with_prefix("hearing.", self._hearing.small()),
            **with_prefix("buys.", self.buys.small()),
            **with_prefix("churn.", self.churn.small()),
            **with_prefix("value.", self.value.small()),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of one made with the same arguments."""
        self._reached_ms = int(arrays["reached"][0])
        self._away = arrays["away"].copy()
        self._hearing.restore(without_prefix("hearing.", arrays))
        self._later.restore({name: one for name, one in arrays.items() if "." not in name})
        self.buys.restore(without_prefix("buys.", arrays))
        self.churn.restore(without_prefix("churn.", arrays))
        self.value.restore(without_prefix("value.", arrays))


def _shuffled(keys: Keys, salt: int) -> Keys:
    """Keys in a random order of their own for each salt (the finalizer of SplitMix64)."""
    mixed = keys ^ np.uint64(salt * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
