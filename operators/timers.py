"""Event-time timers of one shard: names that are due at a time, kept by the minute.

A heap of the same costs ten comparisons a timer and a cache miss each; a minute's names are one list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.times import MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Iterator


class Timers:
    """Names by the time at which each is due (ms). A name may be due more than once.

    >>> timers = Timers()
    >>> timers.add(5, "ann"); timers.add(70_000, "bob"); timers.add(60_001, "eve")
    >>> sorted(timers.due(60_002)), sorted(timers.due(60_002)), sorted(timers.due(70_001))
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

    def due(self, now_ms: int) -> Iterator[str]:
        """The names due before a time, each once for each time it was added; they are then forgotten.

        Whoever asks may add names while being told.
        """
        now = now_ms // MINUTE_MS
        if not self._minutes or now < self._next:
            return
        for minute in sorted(minute for minute in self._minutes if minute <= now):
            names = self._minutes.pop(minute)
            self._count -= len(names)
            # In an order that a resume, which adds them anew, does not change.
            for due_ms, name in sorted(names):
                if due_ms < now_ms:
                    yield name
                else:
                    self.add(due_ms, name)
        self._next = min(self._minutes, default=0)
