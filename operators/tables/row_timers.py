"""Timers of the rows of a table, in event time, by the hour. Not stored: made again after a resume.

Use this where rows of a table are due (stages of the lifecycle, RFM scores) and many are added at once.
Related: `timers` for names that are due by the minute; `idle_index` for names ordered by how long they
were not seen; `operators.catalogue.last_seen` for the same of item rows, stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import grow, run_starts
from state.times import HOUR_MS, NEVER_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.arrays import Rows, Times


class RowTimers:
    """At most one timer for each row: the soonest that was added. 8 bytes a row, 4 a timer.

    `_soonest_ms` int64[rows] holds the time, NEVER_MS for none.

    >>> timers = RowTimers(); timers.add(np.array([3, 1]), np.array([HOUR_MS + 5, 7]))
    >>> so = np.array([0, 7, 0, HOUR_MS + 5])
    >>> [timers.take_due(now, 9, so.take).tolist() for now in (6, 7, HOUR_MS + 4, HOUR_MS + 5)]
    [[], [1], [], [3]]
    """

    __slots__ = ("_hours", "_soonest_ms")

    def __init__(self) -> None:
        self._soonest_ms: Times = np.empty(0, np.int64)
        self._hours: dict[int, list[Rows]] = {}

    def add(self, rows: Rows, due_ms: Times) -> None:
        """Add a timer for each of these distinct rows unless it has a sooner one; NEVER_MS adds none."""
        self._soonest_ms = grow(self._soonest_ms, int(rows.max(initial=-1)) + 1, NEVER_MS)
        sooner = np.flatnonzero(due_ms < self._soonest_ms[rows])
        rows, due_ms = rows[sooner], due_ms[sooner]
        self._soonest_ms[rows] = due_ms
        self._schedule(rows, due_ms // HOUR_MS)

    def cancel(self, rows: Rows) -> None:
        """Cancel the timers of these rows."""
        self._soonest_ms[rows[rows < len(self._soonest_ms)]] = NEVER_MS

    def take_due(self, now_ms: int, limit: int, due_ms_of: Callable[[Rows], Times]) -> Rows:
        """Return at most `limit` rows that are due at `now_ms`, soonest first, and cancel their timers.

        `due_ms_of` gives the time at which rows are really due, NEVER_MS for never. It is never before
        the time of their timer, but it may be after it: the row was postponed since. Such a row gets a
        timer at its new time.
        """
        current_hour = now_ms // HOUR_MS
        due: list[Rows] = []
        while limit > 0 and (hour := min(self._hours, default=current_hour + 1)) <= current_hour:
            rows = np.unique(np.concatenate(self._hours.pop(hour)))
            # A row may be listed here still, although its timer moved to an earlier hour.
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
