"""Lifecycle stages: new, active, dormant, re-engaged, lost, by a shopper's first and last activity.

Each change of stage has an exact time. It follows from the shopper's first and last event and last
long absence, so it does not depend on how events are cut into batches, and needs no event. Only of
several long absences within one batch the earlier ones are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.row_timers import RowTimers
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows
from state.times import DAY_MS, NEVER_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from state import config
    from state.arrays import Rows, Times

NEW, ACTIVE, DORMANT, REENGAGED, LOST = range(5)

MOVES_PER_BATCH = 4096
"""Shoppers whose stage time alone changes, in one batch; more wait for the next batch."""

_STAGE_SEQUENCE = (NEW, ACTIVE, DORMANT, LOST, REENGAGED, ACTIVE, DORMANT, LOST)
"""The stages of a shopper in order: before the last absence, during it, after it."""


class StageTimeline(NamedTuple):
    """When n shoppers became, or will become, each of `_STAGE_SEQUENCE`: at_ms int64[8, n],
    NEVER_MS for never. Times ascend along the first axis, NEVER_MS left out."""

    at_ms: Times

    def stage_at(self, now_ms: Times) -> NDArray[np.int8]:
        """Return the stage of each shopper at a time, int8[n]."""
        reached = self.at_ms <= now_ms
        last = len(_STAGE_SEQUENCE) - 1 - reached[::-1].argmax(axis=0)
        stages: NDArray[np.int8] = np.array(_STAGE_SEQUENCE, np.int8)[last]
        return stages

    def next_change_ms(self, since_ms: Times, stage: NDArray[np.int8]) -> Times:
        """Return when each shopper, in a stage since a time (NO_ROW: in none), changes to another;
        NEVER_MS for never."""
        comes = (self.at_ms > since_ms) & (np.array(_STAGE_SEQUENCE, np.int8)[:, None] != stage)
        change_ms: Times = np.where(comes, self.at_ms, NEVER_MS).min(axis=0, initial=NEVER_MS)
        return change_ms

    def transitions_between(
        self, since_ms: Times, now_ms: Times
    ) -> Iterator[tuple[int, NDArray[np.intp], Times]]:
        """Yield the transitions after a time and until another: stage, which shoppers, when."""
        comes = (self.at_ms > since_ms) & (self.at_ms <= now_ms)
        for place in np.flatnonzero(comes.any(axis=1)).tolist():
            shoppers = np.flatnonzero(comes[place])
            yield _STAGE_SEQUENCE[place], shoppers, self.at_ms[place, shoppers]


class Lifecycle(TableState):
    """The times by which stages follow: first_ms, last_ms, away_ms, returned_ms, each int64[rows].

    40 bytes a shopper with the timer. first_ms is 0 for a row without a shopper.
    """

    def __init__(self, spans: config.Lifecycle) -> None:
        self._new_ms = spans.new_days * DAY_MS
        self._dormant_ms = spans.dormant_days * DAY_MS
        self._reengaged_ms = spans.reengaged_days * DAY_MS
        self._lost_ms = spans.lost_days * DAY_MS
        self._rows = 0
        self._times = np.zeros((0, 4), np.int64)
        self._timers = RowTimers()
        self._dirty_rows = DirtyRows()

    def update(self, rows: Rows, times: Times) -> None:
        """Store the times of active shoppers: first, last, away, returned (ms), int64[n, 4]."""
        self._times[rows] = times
        self._dirty_rows.mark(rows)

    def re_engaged(self, rows: Rows, times: Times) -> tuple[NDArray[np.intp], StageTimeline, Times]:
        """Find the shoppers who come back from an absence that was not known; called before
        `update`.

        Returns their indexes among the rows, their timelines until the return, and when they
        returned.
        """
        self.ensure_rows(int(rows.max(initial=-1)) + 1)
        previous = self._times[rows]
        returning = np.flatnonzero((previous[:, 0] > 0) & (times[:, 3] > previous[:, 3]))
        absences = previous[returning]
        absences[:, 1] = times[returning, 2]
        return returning, self._build_timelines(absences), times[returning, 3]

    def remove_shoppers(self, rows: Rows) -> None:
        """Clear the rows of these shoppers."""
        rows = rows[rows < self._rows]
        self._times[rows] = 0
        self._timers.cancel(rows)
        self._dirty_rows.mark(rows)

    def take_due(self, now_ms: int, due_of: Callable[[Rows], Times]) -> Rows:
        """Return at most `MOVES_PER_BATCH` shoppers whose stage changes by now, the earliest first.
        `due_of` gives the time of the next change of rows."""
        return self._timers.take_due(now_ms, MOVES_PER_BATCH, due_of)

    def schedule(self, rows: Rows, due_ms: Times) -> None:
        """Schedule the next change of stage of each row, NEVER_MS for none."""
        self._timers.add(rows, due_ms)

    def live_rows(self) -> Rows:
        """Return the rows that have a shopper."""
        return np.flatnonzero(self._times[: self._rows, 0] > 0).astype(np.int32)

    def last_ms(self, rows: Rows) -> Times:
        """Return when each was last active."""
        last_ms: Times = self._times[rows, 1]
        return last_ms

    def tables(self) -> Sequence[Table]:
        """The four times of each shopper."""
        return [Table({"times": self._times[: self._rows]}, self._dirty_rows)]

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore what `arrays` returned, or nothing from an older release; no timer is set."""
        self._times = arrays.get("times", np.zeros((0, 4))).astype(np.int64)
        self._rows = len(self._times)
        self._dirty_rows = DirtyRows(self._rows)
        self._timers = RowTimers()

    def backfill(self, last_ms: Times) -> None:
        """Take the last activity of shoppers (ms, 0 for none) where nothing else is stored: none is
        new."""
        rows = np.flatnonzero(last_ms).astype(np.int32)
        self.ensure_rows(len(last_ms))
        self._times[rows, 0] = np.maximum(1, last_ms[rows] - self._new_ms)
        self._times[rows, 1] = last_ms[rows]
        self._dirty_rows.mark(rows)

    def ensure_rows(self, rows: int) -> None:
        """Grow to at least this many rows."""
        if rows > self._rows:
            self._times = grow(self._times, rows, 0)
            self._dirty_rows.ensure_rows(rows)
            self._rows = rows

    def timelines(self, rows: Rows) -> StageTimeline:
        """Return the timelines of shoppers, if no other event comes."""
        return self._build_timelines(self._times[rows])

    def _build_timelines(self, times: Times) -> StageTimeline:
        first_ms, last_ms, away_ms, returned_ms = times.T
        at_ms = np.empty((len(_STAGE_SEQUENCE), len(times)), np.int64)
        at_ms[0], at_ms[1] = first_ms, first_ms + self._new_ms
        at_ms[2:6] = NEVER_MS
        at_ms[6], at_ms[7] = last_ms + self._dormant_ms, last_ms + self._lost_ms
        back = np.flatnonzero(returned_ms > 0)  # few
        if len(back):
            away_ms, returned_ms = away_ms[back], returned_ms[back]
            was_lost = returned_ms - away_ms >= self._lost_ms
            at_ms[2, back] = away_ms + self._dormant_ms
            at_ms[3, back] = np.where(was_lost, away_ms + self._lost_ms, NEVER_MS)
            at_ms[4, back], at_ms[5, back] = returned_ms, returned_ms + self._reengaged_ms
        return StageTimeline(at_ms)
