"""Timers by name, in event time, by the minute. Not stored: made again from the state after a resume.

Use this where things are known by name and must be found soon after a time (the timers of a shard).
Related: `row_timers` for rows of a table that are due by the hour; `idle_index` for names ordered by how
long they were not seen; `operators.catalogue.last_seen` for the same of item rows, stored.

A heap needs ten comparisons and as many cache misses for each timer; here a minute's names are one list.
"""

from __future__ import annotations

from state.times import MINUTE_MS


class Timers:
    """Names by the time at which each is due (ms). A name may be due more than once.

    >>> timers = Timers()
    >>> timers.add(5, "ann"); timers.add(70_000, "bob"); timers.add(60_001, "eve")
    >>> due = timers.take_due
    >>> sorted(due(60_002)), sorted(due(60_002)), sorted(due(70_001))
    (['ann', 'eve'], [], ['bob'])
    """

    __slots__ = ("_count", "_minutes", "_next")

    def __init__(self) -> None:
        self._minutes: dict[int, list[tuple[int, str]]] = {}
        self._next = 0
        self._count = 0

    def __len__(self) -> int:
        """The number of timers, those of names that no longer exist included."""
        return self._count

    def add(self, due_ms: int, name: str) -> None:
        """Add a timer for a name."""
        minute = due_ms // MINUTE_MS
        self._count += 1
        names = self._minutes.get(minute)
        if names is None:
            self._minutes[minute] = [(due_ms, name)]
            self._next = min(self._next, minute) if len(self._minutes) > 1 else minute
        else:
            names.append((due_ms, name))

    def take_due(self, now_ms: int) -> set[str]:
        """Return the names of all timers before `now_ms`, and remove these timers.

        A timer that was postponed is still returned at its first time, except after a resume. So the
        caller must check each name against its own state, and must bring the names into an order.
        """
        current_minute = now_ms // MINUTE_MS
        due: set[str] = set()
        if not self._minutes or current_minute < self._next:
            return due
        for minute in [minute for minute in self._minutes if minute <= current_minute]:
            names = self._minutes.pop(minute)
            if minute == current_minute:
                later = [timer for timer in names if timer[0] >= now_ms]
                if later:
                    self._minutes[minute] = later
                due.update(name for due_ms, name in names if due_ms < now_ms)
                self._count += len(later)
            else:
                due.update(name for _, name in names)
            self._count -= len(names)
        self._next = min(self._minutes, default=0)
        return due
