"""Event-time timers of the rows of a table: which are due, without looking at them all.

Rows wait by the hour. A row has one timer at most that counts, the soonest asked for; whoever is told
that a row is due looks whether that is still so. Not stored: made anew from what is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.learners.heaviest import grown, run_starts
from state.times import HOUR_MS

if TYPE_CHECKING:
    from state.interactions import Rows, Times

NEVER_MS = np.iinfo(np.int64).max


class RowTimers:
    """When each row is due, int64[rows], NEVER_MS for never: 8 bytes a row, 4 a timer.

    >>> timers = RowTimers(); timers.add(np.array([3, 1]), np.array([HOUR_MS + 5, 7]))
    >>> [timers.due(now_ms, 9).tolist() for now_ms in (6, 7, HOUR_MS + 4, HOUR_MS + 5)]
    [[], [1], [], [3]]
    """

    __slots__ = ("_due_ms", "_hours")

    def __init__(self) -> None:
        self._due_ms: Times = np.empty(0, np.int64)
        self._hours: dict[int, list[Rows]] = {}

    def add(self, rows: Rows, due_ms: Times) -> None:
        """Each of these rows, once each, is due at a time, if not sooner."""
        self._due_ms = grown(self._due_ms, int(rows.max(initial=-1)) + 1, NEVER_MS)
        sooner = np.flatnonzero(due_ms < self._due_ms[rows])
        if not len(sooner):
            return
        rows, due_ms = rows[sooner], due_ms[sooner]
        self._due_ms[rows] = due_ms
        self._wait(rows, due_ms // HOUR_MS)

    def due(self, now_ms: int, most: int) -> Rows:
        """At most so many of the rows that are due at a time; they are then forgotten."""
        now = now_ms // HOUR_MS
        found: list[Rows] = []
        for hour in sorted(hour for hour in self._hours if hour <= now):
            rows = np.unique(np.concatenate(self._hours.pop(hour)))
            # Of a row that was due sooner meanwhile, what is left here counts no more.
            rows = rows[self._due_ms[rows] // HOUR_MS == hour]
            is_due = self._due_ms[rows] <= now_ms
            found.append(rows[is_due][:most])
            rest = np.concatenate([rows[~is_due], rows[is_due][most:]])
            if len(rest):
                self._hours[hour] = [rest]
            most -= len(found[-1])
            if most <= 0:
                break
        due = np.concatenate(found) if found else np.empty(0, np.int32)
        self._due_ms[due] = NEVER_MS
        return due.astype(np.int32)

    def _wait(self, rows: Rows, hours: Times) -> None:
        order = hours.argsort(kind="stable")
        starts = run_starts(hours[order])
        for some in np.split(order, starts[1:]):
            self._hours.setdefault(int(hours[some[0]]), []).append(rows[some].astype(np.int32))
