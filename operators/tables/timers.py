"""Event-time timers of one shard: names that are due at a time, kept by the minute.

A heap of the same costs ten comparisons a timer and a cache miss each; a minute's names are one list.
"""

from __future__ import annotations

from state.times import MINUTE_MS


class Timers:
    """Names by the time at which each is due (ms). A name may be due more than once.

    >>> timers = Timers()
    >>> timers.add(5, "ann"); timers.add(70_000, "bob"); timers.add(60_001, "eve")
    >>> sorted(timers.take_due(60_002)), sorted(timers.take_due(60_002)), sorted(timers.take_due(70_001))
    (['ann', 'eve'], [], ['bob'])
    """

    __slots__ = ("_count", "_minutes", "_next")

    def __init__(self) -> None:
        self._minutes: dict[int, list[tuple[int, str]]] = {}
        self._next = 0
        self._count = 0

    def __len__(self) -> int:
        """How many there are, those of names that are no more included."""
        return self._count

    def add(self, due_ms: int, name: str) -> None:
        """Note that a name is due at a time."""
        minute = due_ms // MINUTE_MS
        self._count += 1
        names = self._minutes.get(minute)
        if names is None:
            self._minutes[minute] = [(due_ms, name)]
            self._next = min(self._next, minute) if len(self._minutes) > 1 else minute
        else:
            names.append((due_ms, name))

    def take_due(self, now_ms: int) -> set[str]:
        """The names that were added for a time before this one, which is then forgotten.

        Of a name that was put off meanwhile an outdated time is among them, and a resume knows no
        outdated ones: whoever asks goes by what is so, in an order of its own.
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
