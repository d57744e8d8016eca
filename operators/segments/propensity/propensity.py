"""What the learning step calls: decisions and outcomes in, chances and segments out.

It changes its state in place. The names of the arrays are stored; everything else is free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.publish import profile_fields
from operators.segments.propensity import built_in_segments
from operators.segments.propensity import profile_fields as field_texts
from operators.segments.propensity.built_in_segments import Scored, Thresholds
from operators.segments.propensity.decision_times import key_of
from operators.segments.propensity.feature_store import UNKNOWN, Latest
from operators.segments.propensity.features import VERSION
from operators.segments.propensity.profile_fields import (
    BUYS,
    CHURN,
    MODELS_OF_LATER,
    SESSION,
    VALUE,
    Shown,
)
from operators.segments.propensity.session_model import SessionChances
from operators.segments.propensity.weekly_models import WeekChances
from operators.tables.table import Kept, Table, with_prefix, without_prefix
from state.interactions import NOBODY
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.propensity.chance_model import ChanceModel
    from operators.tables.table import Arrays
    from state import config
    from state.interactions import Rows, Times
    from state.messages import Transition, Visited, Write
    from state.segments import Definition

    Floats = NDArray[np.float64]

ROWS_AT_ONCE = 65_536
PROFILES_AT_ONCE = 2_048
"""Profiles looked at with a batch: what a batch costs should not depend on how many there are."""
VISITS_A_ROW = 0.5
"""All shoppers are decided again every hour of event time, but no sooner than after so many visits for
each of them (it costs .5 us each), and at least once a day."""


class Scores(NamedTuple):
    """What the models say of n shoppers, each float64[n], nan where one says nothing."""

    session: Floats
    buys: Floats
    churn: Floats
    value: Floats


class Propensity(Kept):
    """All models, and the ready-made segments."""

    def __init__(self, settings: config.Propensity) -> None:
        self._settings = settings
        self.begin_sessions()
        self.weeks = WeekChances(settings)
        self._latest = Latest()
        self._thresholds: Thresholds | None = None
        self._decided_ms = 0
        self._seen = 0
        self._status = ""
        # Who is to be looked at, the last one first; not stored, since all are looked at again anyway.
        self._stale: Rows = np.empty(0, np.int32)
        # Of the release before: segments and what profiles say rest on models that are gone.
        self._outdated: Rows = np.empty(0, np.int32)

    def begin_sessions(self) -> None:
        """Know nothing of sessions."""
        self.sessions = SessionChances(self._settings.labels_min)

    @property
    def session(self) -> ChanceModel:
        """The model of sessions."""
        return self.sessions.model

    @property
    def had_sessions(self) -> bool:
        """Whether chances of sessions were told that are turned off now."""
        return not self._settings.sampled_share and bool(self.session.labels.any())

    @property
    def definitions(self) -> list[Definition]:
        """The ready-made segments as they were last told; none where they are turned off."""
        if not self._settings.horizon_days:
            return []
        return built_in_segments.definitions(self._settings.dormant_days, self._status)

    def redefined(self) -> list[Definition]:
        """The same where they changed since they were told."""
        status = "live" if self._thresholds is not None else field_texts.status(self.weeks.buys)
        if status == self._status:
            return []
        self._status = status
        return self.definitions

    def reach(
        self,
        visited: Sequence[Visited],
        names: Sequence[str],
        idle_ms: Callable[[], Times],
        watermark_ms: int,
    ) -> None:
        """Let time pass to the watermark that stood before a batch, and hear what the batch tells.

        Comes before all else that is learned of it: shoppers are as they were before. `names` are all,
        by row, and `idle_ms` gives how long each row may do nothing until it counts no more.
        """
        self.sessions.learn(visited, watermark_ms)
        if self._settings.horizon_days:
            self.weeks.reach(self._latest, names, idle_ms, watermark_ms)
            for one in visited:
                self.weeks.hear(one.heard)

    def see(self, rows: Rows, raw: Floats) -> None:
        """Shoppers were active, by their feature rows [n, COLUMNS]."""
        if self._settings.horizon_days:
            self._seen += len(rows)
            self._latest.see(rows, raw)

    def leave(self, row: int, name: str, *, erased: bool) -> None:
        """A shopper is no more: it turned out to be another, or was erased."""
        if erased:
            self.weeks.forget(key_of(name))
        if row != NOBODY:
            self._latest.forget(np.array([row], np.int32))

    def forget(self, rows: Rows) -> None:
        """These are no longer in memory."""
        self._latest.forget(rows)

    def score(self, rows: Rows, raw: Floats) -> Scores:
        """What is said of shoppers as of their last event, with their feature rows; NOBODY is a row."""
        session = self.sessions.score(raw)
        if not self._settings.sampled_share:
            session[:] = np.nan
        later = np.full((3, len(rows)), np.nan)
        known = (rows >= 0) & (rows < self._latest.rows)
        if self._settings.horizon_days:
            later[:, known] = self.weeks.of_points(self._latest.points(rows[known], 0))
        return Scores(session, *later)

    def decide(
        self, shoppers: Sequence[str], rows: Rows, scores: Scores, at_ms: Times
    ) -> list[Transition]:
        """Who of those that were active enters and leaves segments."""
        if self._thresholds is None:
            return []
        return self._decide(self._thresholds, shoppers, rows, scores, at_ms)

    def advance(self, names: Sequence[str], clock_ms: int, *, last: bool) -> list[Transition]:
        """Decide all shoppers again where it is time, or for the last time, as of an event time."""
        if not self._settings.horizon_days or clock_ms <= 0:
            return []
        if len(self._outdated):
            rows = self._latest.live()
            nowhere, at_ms = np.zeros(len(rows), np.uint8), np.full(len(rows), clock_ms)
            return self._placed([names[row] for row in rows.tolist()], rows, nowhere, at_ms)
        since_ms, live = clock_ms - self._decided_ms, self._latest.live()
        is_due = clock_ms // HOUR_MS > self._decided_ms // HOUR_MS and (
            self._seen >= VISITS_A_ROW * len(live) or since_ms >= DAY_MS
        )
        if not is_due and not last:
            return []
        self._decided_ms, self._seen, self._stale = clock_ms, 0, live[::-1]
        return self._decide_all(names, live, clock_ms)

    def told(
        self, profiles: Sequence[str], counts: Sequence[int], rows: Rows, scores: Scores
    ) -> tuple[Sequence[str], Sequence[int]]:
        """Packed commands that write profiles and their numbers of arguments, with the scores that
        there are."""
        steps = [shown.steps(values) for shown, values in zip(_SHOWN, scores, strict=True)]
        if len(rows) and self._settings.horizon_days:
            self._latest.show(rows, np.column_stack(steps[1:]))
        return _written(profiles, counts, steps)

    def told_again(
        self, profiles: Sequence[str], counts: Sequence[int], rows: Rows, raw: Floats
    ) -> tuple[Sequence[str], Sequence[int]]:
        """The same of those whose profiles are lost, as they were told last; NOBODY is a row."""
        steps = np.full((len(rows), len(_SHOWN)), UNKNOWN, np.int16)
        steps[:, 0] = _SHOWN[0].steps(self.score(rows, raw).session)
        known = (rows >= 0) & (rows < self._latest.rows)
        steps[known, 1:] = self._latest.shown[rows[known]]
        return _written(profiles, counts, [*steps.T])

    def refreshed(self, names: Sequence[str], clock_ms: int, *, last: bool) -> list[Write]:
        """Profiles of those who do nothing, whose chances moved as time passed: some with each batch,
        all with the `last` one of a recording."""
        if len(outdated := self._outdated):
            self._outdated = outdated[:0]
            of_names = [names[row] for row in outdated.tolist() if names[row]]
            return [profile_fields.forgotten(name, MODELS_OF_LATER) for name in of_names]
        most = len(self._stale) if last else PROFILES_AT_ONCE
        rows, self._stale = self._stale[-most:][::-1], self._stale[:-most]
        rows = rows[self._latest.last_ms(rows) > 0]
        if not len(rows) or not self.weeks.buys.ready:
            return []
        scores = self.weeks.of_points(self._latest.points(rows, clock_ms))
        steps = np.column_stack([s.steps(v) for s, v in zip(_SHOWN[1:], scores, strict=True)])
        moved = np.flatnonzero((steps != self._latest.shown[rows]).any(axis=1))
        rows, steps = rows[moved], steps[moved]
        self._latest.show(rows, steps)
        writes: list[Write] = []
        for row, shown in zip(rows.tolist(), steps.tolist(), strict=True):
            fields = {of.field: of.value(step) for of, step in zip(_SHOWN[1:], shown, strict=True)}
            writes += profile_fields.changed(names[row], fields)
        return writes

    def models(self, now_ms: int) -> list[Write]:
        """How good each model is."""
        found: list[Write] = []
        if self._settings.sampled_share:
            found += field_texts.chances(SESSION, self.session, now_ms)
        if self._settings.horizon_days:
            found += field_texts.chances(BUYS, self.weeks.buys, now_ms)
            found += field_texts.chances(CHURN, self.weeks.churn, now_ms)
            found += field_texts.amounts(VALUE, self.weeks.value, now_ms)
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
        """Take over a state that `arrays` gave.

        Of the release before, whose models meant something else, only how shoppers are is taken over.
        """
        version = int(arrays["version"][0]) if "version" in arrays else 0
        if version == 1:
            self._latest.restore(without_prefix("latest.", arrays))
            self._outdated = self._latest.live()
        if version != VERSION:
            return
        self._decided_ms, self._seen = arrays["decided"].tolist()
        self._status = str(arrays["status"][0])
        if "thresholds.chance" in arrays:
            self._thresholds = Thresholds(**without_prefix("thresholds.", arrays))
        for name, part in self._parts().items():
            part.restore(without_prefix(f"{name}.", arrays))

    def _parts(self) -> dict[str, Any]:
        return {"sessions": self.sessions, "weeks": self.weeks, "latest": self._latest}

    def _decide_all(self, names: Sequence[str], live: Rows, clock_ms: int) -> list[Transition]:
        if not (self.weeks.buys.ready and self.weeks.value.ready and len(live)):
            return []
        cuts = range(0, len(live), ROWS_AT_ONCE)
        parts = [live[start : start + ROWS_AT_ONCE] for start in cuts]
        found = [self.weeks.of_points(self._latest.points(rows, clock_ms)) for rows in parts]
        buys, churn, value = (np.concatenate(column) for column in zip(*found, strict=True))
        self._thresholds = built_in_segments.thresholds(buys, value)
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
        after = built_in_segments.decide(by, of, self._settings.dormant_days * DAY_MS)
        names = [names[row] for row in rows.tolist()] if by_row else names
        return self._placed(names, rows, after, at_ms)

    def _placed(
        self, names: Sequence[str], rows: Rows, after: NDArray[np.uint8], at_ms: Times
    ) -> list[Transition]:
        """Which segments shoppers are in now, as bits, and who moved; names are those of the rows."""
        before = self._latest.member[rows]
        moved = np.flatnonzero(after != before)
        self._latest.place(rows[moved], after[moved])
        transitions: list[Transition] = []
        for i in moved.tolist():
            name, was, now = names[i], int(before[i]), int(after[i])
            transitions += [
                (name, sid, bool(now & bit), int(at_ms[i]))
                for bit, sid in built_in_segments.IDS.items()
                if (was ^ now) & bit
            ]
        return transitions


_SHOWN = (Shown(SESSION), Shown(BUYS), Shown(CHURN), Shown(VALUE, amounts=True))


def _written(
    heads: Sequence[str], counts: Sequence[int], steps: Sequence[NDArray[np.int16]]
) -> tuple[Sequence[str], Sequence[int]]:
    """Commands with a field more for each step that says something."""
    for shown, of_field in zip(_SHOWN, steps, strict=True):
        there = of_field != UNKNOWN
        if there.any():
            heads = [*map(str.__add__, heads, shown.texts(of_field))]
            counts = (np.array(counts) + 2 * there).tolist()
    return heads, counts
