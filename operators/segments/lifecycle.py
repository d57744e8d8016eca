"""Lifecycle: new, active, dormant, re-engaged, lost, by how long ago a shopper was first and last seen.

Every change of stage has an exact time, which the shopper's first and last event and last long absence
tell: it comes out the same however events are cut into batches, and needs no event. Only of several
long absences within one batch are the former ones not told of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.tables.row_timers import NEVER_MS, RowTimers
from operators.tables.table import Kept, Table
from operators.tables.top_partners import grown
from state.dirty_rows import Marks
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from state import config
    from state.interactions import Rows, Times

NEW, ACTIVE, DORMANT, REENGAGED, LOST = range(5)

MOVES_A_BATCH = 4096
"""Shoppers whose stage changes without an event, at once; more wait for the next batch."""

_STEPS = (NEW, ACTIVE, DORMANT, LOST, REENGAGED, ACTIVE, DORMANT, LOST)
"""What a shopper becomes one after the other: before the last absence, during it, after it."""


class Steps(NamedTuple):
    """When n shoppers became, or will become, each of `_STEPS`: at_ms int64[8, n], NEVER_MS for not at
    all; rising along the first axis but for that."""

    at_ms: Times

    def stage(self, now_ms: Times) -> NDArray[np.int8]:
        """The stage at a time for each shopper, int8[n]."""
        reached = self.at_ms <= now_ms
        last = len(_STEPS) - 1 - reached[::-1].argmax(axis=0)
        stages: NDArray[np.int8] = np.array(_STEPS, np.int8)[last]
        return stages

    def next_ms(self, since_ms: Times, stage: NDArray[np.int8]) -> Times:
        """When each shopper, in a stage (NOBODY: in none) since a time, comes into another; NEVER_MS for
        not at all."""
        comes = (self.at_ms > since_ms) & (np.array(_STEPS, np.int8)[:, None] != stage)
        next_ms: Times = np.where(comes, self.at_ms, NEVER_MS).min(axis=0, initial=NEVER_MS)
        return next_ms

    def between(
        self, since_ms: Times, now_ms: Times
    ) -> Iterator[tuple[int, NDArray[np.intp], Times]]:
        """The steps after a time and until another, of each shopper: stage, which shoppers, when."""
        for stage, at_ms in zip(_STEPS, self.at_ms, strict=True):
            who = np.flatnonzero((at_ms > since_ms) & (at_ms <= now_ms))
            if len(who):
                yield stage, who, at_ms[who]


class Lifecycle(Kept):
    """What is known of each shopper: first_ms, last_ms, away_ms, returned_ms, each int64[rows].

    40 bytes a shopper with the timer. first_ms is 0 for one never seen.
    """

    def __init__(self, spans: config.Lifecycle) -> None:
        self._new_ms = spans.new_days * DAY_MS
        self._dormant_ms = spans.dormant_days * DAY_MS
        self._reengaged_ms = spans.reengaged_days * DAY_MS
        self._lost_ms = spans.lost_days * DAY_MS
        self._rows = 0
        self._times = np.zeros((0, 4), np.int64)
        self._timers = RowTimers()
        self._marks = Marks()

    def see(self, rows: Rows, times: Times) -> None:
        """Shoppers were active: first, last, away and returned (ms), int64[n, 4]."""
        self._times[rows] = times
        self._marks.mark(rows)

    def returned(self, rows: Rows, times: Times) -> tuple[NDArray[np.intp], Steps, Times]:
        """Who of these comes back from an absence that was not known of, before `see` hears of it.

        Where they are among the rows, their steps until then, and when they came back.
        """
        self.reach(int(rows.max(initial=-1)) + 1)
        former = self._times[rows]
        back = np.flatnonzero((former[:, 0] > 0) & (times[:, 3] > former[:, 3]))
        until = former[back]
        until[:, 1] = times[back, 2]
        return back, self._steps(until), times[back, 3]

    def forget(self, rows: Rows) -> None:
        """These shoppers were never seen."""
        rows = rows[rows < self._rows]
        self._times[rows] = 0
        self._timers.drop(rows)
        self._marks.mark(rows)

    def due(self, now_ms: int, due_of: Callable[[Rows], Times]) -> Rows:
        """Shoppers whose stage changes by now, at most `MOVES_A_BATCH`, those first who did so first;
        `due_of` tells when that of rows changes."""
        return self._timers.due(now_ms, MOVES_A_BATCH, due_of)

    def wait(self, rows: Rows, due_ms: Times) -> None:
        """The stage of each changes at a time, NEVER_MS for never, if nothing else comes."""
        self._timers.add(rows, due_ms)

    def live(self) -> Rows:
        """The shoppers that are known."""
        return np.flatnonzero(self._times[: self._rows, 0] > 0).astype(np.int32)

    def last_ms(self, rows: Rows) -> Times:
        """When each was last seen."""
        last_ms: Times = self._times[rows, 1]
        return last_ms

    def tables(self) -> Sequence[Table]:
        """The four times of each shopper."""
        return [Table({"times": self._times[: self._rows]}, self._marks)]

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `arrays` gave, or nothing from an older release; nobody waits then."""
        self._times = arrays.get("times", np.zeros((0, 4))).astype(np.int64)
        self._rows = len(self._times)
        self._marks = Marks(self._rows)
        self._timers = RowTimers()

    def know(self, last_ms: Times) -> None:
        """When shoppers were seen last, 0 for never, where no more is stored of them: none is new."""
        rows = np.flatnonzero(last_ms).astype(np.int32)
        self.reach(len(last_ms))
        self._times[rows, 0] = np.maximum(1, last_ms[rows] - self._new_ms)
        self._times[rows, 1] = last_ms[rows]
        self._marks.mark(rows)

    def reach(self, rows: int) -> None:
        """Make room for so many rows."""
        if rows > self._rows:
            self._times = grown(self._times, rows, 0)
            self._marks.reach(rows)
            self._rows = rows

    def steps(self, rows: Rows) -> Steps:
        """What shoppers that are known became and will become, if nothing else comes."""
        return self._steps(self._times[rows])

    def _steps(self, times: Times) -> Steps:
        first_ms, last_ms, away_ms, returned_ms = times.T
        was_away = returned_ms > 0
        lost_before = was_away & (returned_ms - away_ms >= self._lost_ms)
        never = np.int64(NEVER_MS)
        return Steps(
            np.stack(
                (
                    first_ms,
                    first_ms + self._new_ms,
                    np.where(was_away, away_ms + self._dormant_ms, never),
                    np.where(lost_before, away_ms + self._lost_ms, never),
                    np.where(was_away, returned_ms, never),
                    np.where(was_away, returned_ms + self._reengaged_ms, never),
                    last_ms + self._dormant_ms,
                    last_ms + self._lost_ms,
                )
            )
        )
