"""What the learning step calls: decisions and outcomes in, chances and segments out.

It changes its state in place. The names of the arrays are stored; everything else is free.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.features import COLUMNS
from operators.learners.table import Kept, Table, with_prefix, without_prefix
from operators.propensity import ready_made, told
from operators.propensity.amounts import AmountModel
from operators.propensity.features import (
    DAYS_SINCE_PURCHASE,
    DAYS_SINCE_SEEN,
    HAS_CART,
    HAS_PURCHASE,
    SESSION_EVENTS,
    SESSION_FEATURES,
    SHOPPER_FEATURES,
    VERSION,
    session_matrix,
)
from operators.propensity.later import Later
from operators.propensity.latest import Latest
from operators.propensity.model import ChanceModel
from operators.propensity.ready_made import Scored, Thresholds
from operators.propensity.told import BUYS, CHURN, SESSION, VALUE, Shown
from operators.propensity.waiting import Waiting
from state.interactions import NOBODY
from state.money import MICROS
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.learners.table import Arrays
    from operators.propensity.later import Due
    from state import config
    from state.interactions import Rows, Times
    from state.messages import Transition, Visited, Write
    from state.segments import Definition

    Floats = NDArray[np.float64]

SESSIONS_WAITING_MAX = 8_192
SHOPPERS_WAITING_MAX = 20_000
ROWS_AT_ONCE = 65_536
VISITS_A_ROW = 0.5
"""All shoppers are decided again every hour of event time, but no sooner than after so many visits for
each of them (it costs .5 us each), and at least once a day."""
_DECIDED = np.dtype([("key", "<u8"), ("row", "<f8", (COLUMNS,))])
_OUTCOME = np.dtype([("key", "<u8"), ("bought", "u1")])


class Scores(NamedTuple):
    """What the models say of n shoppers, each float64[n], nan where one says nothing."""

    session: Floats
    buys: Floats
    churn: Floats
    value: Floats


class Propensity(Kept):
    """All models, the decisions that wait for their outcomes, and the ready-made segments."""

    def __init__(self, settings: config.Propensity) -> None:
        self._settings = settings
        labels_min, features = settings.labels_min, len(SHOPPER_FEATURES)
        self.begin_sessions()
        self.buys = ChanceModel(features, labels_min)
        self.churn = ChanceModel(features, labels_min)
        self.value = AmountModel(features, labels_min)
        self._waiting = Waiting(SESSIONS_WAITING_MAX, len(SESSION_FEATURES))
        spend_ms = settings.horizon_days * DAY_MS
        wait_ms = max(spend_ms, settings.churn_days * DAY_MS)
        self._later = Later(SHOPPERS_WAITING_MAX, wait_ms, spend_ms, 3, settings.seed)
        self._latest = Latest()
        self._thresholds: Thresholds | None = None
        self._decided_ms = 0
        self._seen = 0
        self._status = ""

    def begin_sessions(self) -> None:
        """Know nothing of sessions."""
        self.session = ChanceModel(len(SESSION_FEATURES), self._settings.labels_min)

    @property
    def had_sessions(self) -> bool:
        """Whether chances of sessions were told that are turned off now."""
        return not self._settings.sampled_share and bool(self.session.labels.any())

    @property
    def definitions(self) -> list[Definition]:
        """The ready-made segments as they were last told; none where they are turned off."""
        if not self._settings.horizon_days:
            return []
        return ready_made.definitions(self._settings.dormant_days, self._status)

    def redefined(self) -> list[Definition]:
        """The same where they changed since they were told."""
        status = "live" if self._thresholds is not None else told.status(self.buys)
        if status == self._status:
            return []
        self._status = status
        return self.definitions

    def learn(self, visited: Sequence[Visited]) -> None:
        """Take in what shards tell of sessions: outcomes first, then the decisions of this batch."""
        outcomes = _stacked((one.outcomes for one in visited), _OUTCOME)
        decided = _stacked((one.decided for one in visited), _DECIDED)
        if len(outcomes):
            places, points, said = self._waiting.take(outcomes["key"])
            bought = outcomes["bought"][places].astype(np.float64)
            wide = points.astype(np.float64)
            self.session.learn(wide, said.astype(np.float64), bought, wide[:, HAS_CART])
        if len(decided):
            seen = session_matrix(decided["row"])
            chances = self.session.predict(seen)
            self._waiting.add(decided["key"], seen.astype(np.float32), chances.astype(np.float32))

    def see(self, rows: Rows, raw: Floats) -> None:
        """Shoppers were active, by their feature rows [n, COLUMNS]."""
        if self._settings.horizon_days:
            self._seen += len(rows)
            self._latest.see(rows, raw)
            self._later.see(rows, raw[:, 10].astype(np.int64))

    def order(self, row: int, micros: int, at_ms: int) -> None:
        """A shopper bought."""
        self._later.order(row, micros, at_ms)

    def leave(self, row: int, to: int) -> None:
        """A shopper is no more: it turned out to be the one of row `to`, or was erased (NOBODY)."""
        if row != NOBODY:
            self._later.leave(row, to)
            self._latest.forget(np.array([row], np.int32))

    def forget(self, rows: Rows) -> None:
        """These are no longer in memory."""
        self._later.forget(rows)
        self._latest.forget(rows)

    def score(self, rows: Rows, raw: Floats) -> Scores:
        """What is said of shoppers as of their last event, with their feature rows; NOBODY is a row."""
        session = self.session.predict(session_matrix(raw))
        session[raw[:, SESSION_EVENTS] == 0] = np.nan
        if not self._settings.sampled_share:
            session[:] = np.nan
        later = np.full((3, len(rows)), np.nan)
        known = (rows >= 0) & (rows < self._latest.rows)
        if self._settings.horizon_days and self.buys.ready:
            later[:, known] = self._of_points(self._latest.points(rows[known], 0))
        return Scores(session, *later)

    def decide(
        self, shoppers: Sequence[str], rows: Rows, scores: Scores, at_ms: Times
    ) -> list[Transition]:
        """Who of those that were active enters and leaves segments."""
        if self._thresholds is None:
            return []
        return self._decide(self._thresholds, shoppers, rows, scores, at_ms)

    def advance(self, names: Sequence[str], clock_ms: int) -> list[Transition]:
        """Let time pass, to an event time: outcomes that are known now are learned, new decisions taken,
        all shoppers decided again. `names` are all of them, by row."""
        if not self._settings.horizon_days or clock_ms <= 0:
            return []
        due = self._later.due(clock_ms)
        if due is None:
            return []
        self._learn_later(due)
        live = self._latest.live()
        drawn = self._later.draw(live, clock_ms)
        points = self._latest.points(drawn, clock_ms)
        self._later.take(drawn, clock_ms, points, np.column_stack(self._of_points(points)))
        since_ms = clock_ms - self._decided_ms
        if self._seen < VISITS_A_ROW * len(live) and since_ms < DAY_MS:
            return []
        self._decided_ms, self._seen = clock_ms, 0
        return self._decide_all(names, live, clock_ms)

    def told(
        self, profiles: Sequence[str], counts: Sequence[int], scores: Scores
    ) -> tuple[Sequence[str], Sequence[int]]:
        """Packed commands that write profiles and their numbers of arguments, with the scores that
        there are."""
        for shown, values in zip(_SHOWN, scores, strict=True):
            if not np.isnan(values).all():
                profiles = [*map(str.__add__, profiles, shown.texts(values))]
                counts = [count + 2 for count in counts]
        return profiles, counts

    def models(self, now_ms: int) -> list[Write]:
        """How good each model is."""
        found: list[Write] = []
        if self._settings.sampled_share:
            found.append(told.chances(SESSION, self.session, now_ms))
        if self._settings.horizon_days:
            found.append(told.chances(BUYS, self.buys, now_ms))
            found.append(told.chances(CHURN, self.churn, now_ms))
            found.append(told.amounts(VALUE, self.value, now_ms))
        return found

    def tables(self) -> Sequence[Table]:
        """Decisions that wait, and what is known of each shopper."""
        return [
            table.named(f"{name}.")
            for name, part in self._parts().items()
            for table in part.tables()
        ]

    def small(self) -> Arrays:
        """Models, judges and thresholds."""
        small: dict[str, NDArray[Any]] = {
            "version": np.array([VERSION]),
            "decided": np.array([self._decided_ms, self._seen]),
            "status": np.array([self._status]),
        }
        if self._thresholds is not None:
            small |= with_prefix("thresholds.", self._thresholds._asdict())
        for name, part in self._parts().items():
            small |= with_prefix(f"{name}.", part.small())
        return small

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave; one of other features is left behind."""
        if "version" not in arrays or arrays["version"][0] != VERSION:
            return
        self._decided_ms, self._seen = arrays["decided"].tolist()
        self._status = str(arrays["status"][0])
        if "thresholds.chance" in arrays:
            self._thresholds = Thresholds(**without_prefix("thresholds.", arrays))
        for name, part in self._parts().items():
            part.restore(without_prefix(f"{name}.", arrays))

    def _parts(self) -> dict[str, Any]:
        return {
            "session": self.session,
            "waiting": self._waiting,
            "buys": self.buys,
            "churn": self.churn,
            "value": self.value,
            "later": self._later,
            "latest": self._latest,
        }

    def _of_points(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        return (
            self.buys.predict(points),
            self.churn.predict(points),
            self.value.predict(points),
        )

    def _learn_later(self, due: Due) -> None:
        if not len(due.points):
            return
        points, said = due.points, due.said
        bought = (due.bought_ms > 0).astype(np.float64)
        # A plain rule each: who bought lately buys, who was away for long stays away.
        lately = points[:, HAS_PURCHASE] * np.exp(-points[:, DAYS_SINCE_PURCHASE])
        self.buys.learn(points, said[:, 0], bought, lately)
        until_ms = due.at_ms + self._settings.churn_days * DAY_MS
        stayed_away = (due.came_ms == 0) | (due.came_ms > until_ms)
        away = 1.0 - np.exp(-points[:, DAYS_SINCE_SEEN])
        self.churn.learn(points, said[:, 1], stayed_away.astype(np.float64), away)
        self.value.learn(points, said[:, 2], due.spent_micros / MICROS)

    def _decide_all(self, names: Sequence[str], live: Rows, clock_ms: int) -> list[Transition]:
        if not (self.buys.ready and self.value.ready and len(live)):
            return []
        cuts = range(0, len(live), ROWS_AT_ONCE)
        parts = [live[start : start + ROWS_AT_ONCE] for start in cuts]
        found = [self._of_points(self._latest.points(rows, clock_ms)) for rows in parts]
        buys, churn, value = (np.concatenate(column) for column in zip(*found, strict=True))
        self._thresholds = ready_made.thresholds(buys, value)
        scores = Scores(np.full(len(live), np.nan), buys, churn, value)
        at_ms = np.full(len(live), clock_ms)
        return self._decide(self._thresholds, names, live, scores, at_ms, by_row=True)

    def _decide(
        self,
        by: Thresholds,
        names: Sequence[str],
        rows: Rows,
        scores: Scores,
        at_ms: Times,
        *,
        by_row: bool = False,
    ) -> list[Transition]:
        """`names` are those of the rows, or of all by row."""
        latest = self._latest
        before = latest.member[rows]
        last_ms, bought = latest.last_ms(rows), latest.has_bought(rows)
        at_ms = np.maximum(at_ms, last_ms)
        of = Scored(scores.buys, scores.value, at_ms - last_ms, bought, before)
        after = ready_made.decide(by, of, self._settings.dormant_days * DAY_MS)
        moved = np.flatnonzero(after != before)
        latest.place(rows[moved], after[moved])
        transitions: list[Transition] = []
        for i in moved.tolist():
            name, was, now = names[rows[i] if by_row else i], int(before[i]), int(after[i])
            transitions += [
                (name, sid, bool(now & bit), int(at_ms[i]))
                for bit, sid in ready_made.IDS.items()
                if (was ^ now) & bit
            ]
        return transitions


_SHOWN = (Shown(SESSION), Shown(BUYS), Shown(CHURN), Shown(VALUE, amounts=True))


def _stacked(parts: Iterable[list[bytes]], dtype: np.dtype[Any]) -> NDArray[Any]:
    return np.frombuffer(b"".join(chain.from_iterable(parts)), dtype)
