"""Event-time timers of the rows of a table: which are due, without looking at them all.

Rows wait by the hour. A row has one timer at most that counts, the soonest asked for. Not stored: made
anew from what is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.top_partners import grow, run_starts
from state.times import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.interactions import Rows, Times

NEVER_MS = np.iinfo(np.int64).max


class RowTimers:
    """The soonest time each row was added for, int64[rows], NEVER_MS for none: 8 bytes a row, 4 a timer.

    >>> timers = RowTimers(); timers.add(np.array([3, 1]), np.array([HOUR_MS + 5, 7]))
    >>> so = np.array([0, 7, 0, HOUR_MS + 5])
    >>> [timers.take_due(now_ms, 9, so.take).tolist() for now_ms in (6, 7, HOUR_MS + 4, HOUR_MS + 5)]
    [[], [1], [], [3]]
    """

    __slots__ = ("_hours", "_soonest_ms")

    def __init__(self) -> None:
        self._soonest_ms: Times = np.empty(0, np.int64)
        self._hours: dict[int, list[Rows]] = {}

    def add(self, rows: Rows, due_ms: Times) -> None:
        """Each of these rows, once each, is due at a time, if not sooner; NEVER_MS adds nothing."""
        self._soonest_ms = grow(self._soonest_ms, int(rows.max(initial=-1)) + 1, NEVER_MS)
        sooner = np.flatnonzero(due_ms < self._soonest_ms[rows])
        rows, due_ms = rows[sooner], due_ms[sooner]
        self._soonest_ms[rows] = due_ms
        self._schedule(rows, due_ms // HOUR_MS)

    def cancel(self, rows: Rows) -> None:
        """These rows are due no longer."""
        self._soonest_ms[rows[rows < len(self._soonest_ms)]] = NEVER_MS

    def take_due(self, now_ms: int, limit: int, due_ms_of: Callable[[Rows], Times]) -> Rows:
        """At most so many of the rows that are due by a time, the soonest first; those are forgotten.

        `due_ms_of` tells when rows are due, NEVER_MS for never; not before the time they were added for,
        but after it where they were put off, as after a resume nobody knows.
        """
        current_hour = now_ms // HOUR_MS
        due: list[Rows] = []
        while limit > 0 and (hour := min(self._hours, default=current_hour + 1)) <= current_hour:
            rows = np.unique(np.concatenate(self._hours.pop(hour)))
            # Of a row that was due sooner meanwhile, what is left here counts no more.
            rows = rows[self._soonest_ms[rows] // HOUR_MS == hour]
            is_due = self._soonest_ms[rows] <= now_ms
            later, rows = [rows[~is_due]], rows[is_due]
            due_ms = due_ms_of(rows)
            self._soonest_ms[rows] = due_ms
            is_postponed = due_ms // HOUR_MS > hour
            is_rescheduled = is_postponed & (due_ms < NEVER_MS)
            self._schedule(rows[is_rescheduled], due_ms[is_rescheduled] // HOUR_MS)
            rows, due_ms = rows[~is_postponed], due_ms[~is_postponed]
            order = due_ms.argsort(kind="stable")
            taken = order[due_ms[order] <= now_ms][:limit]
            due.append(rows[taken])
            limit -= len(taken)
            self._soonest_ms[rows[taken]] = NEVER_MS
            later.append(np.delete(rows, taken))
            if remaining := [chunk for chunk in later if len(chunk)]:
                self._hours[hour] = remaining
                break
        return np.concatenate(due).astype(np.int32) if due else np.empty(0, np.int32)

    def _schedule(self, rows: Rows, hours: Times) -> None:
        if not len(rows):
            return
        order = hours.argsort(kind="stable")
        starts = run_starts(hours[order])
        for chunk in np.split(order, starts[1:]):
            self._hours.setdefault(int(hours[chunk[0]]), []).append(rows[chunk].astype(np.int32))
