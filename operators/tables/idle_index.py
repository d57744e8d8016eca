"""Who was not seen for longest, in event time, without looking at everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Idle:
    """Names by when they were last seen, to the hour or the day; under older ones too.

    >>> idle = Idle(10); seen = {"ann": 5, "bob": 31, "eve": 7}
    >>> for name, at in seen.items(): idle.add(name, at)
    >>> idle.longest(1, 0, seen.get, lambda name: name == "ann")
    ['eve']
    >>> idle.longest(0, 20, seen.get, lambda name: False)
    ['ann']
    """

    __slots__ = ("_buckets", "_unit_ms")

    def __init__(self, unit_ms: int) -> None:
        self._unit_ms = unit_ms
        self._buckets: dict[int, list[str]] = {}

    def add(self, name: str, at_ms: int) -> None:
        """Note when a name was seen: the first time in an hour or day is enough."""
        self._buckets.setdefault(at_ms // self._unit_ms, []).append(name)

    def longest(
        self,
        count: int,
        before_ms: int,
        last_ms: Callable[[str], int | None],
        is_kept: Callable[[str], bool],
    ) -> list[str]:
        """At least `count` names, the longest not seen first, and all not seen since `before_ms`.

        `last_ms` says when a name was last seen, None for one that is no more; who `is_kept` stays.
        """
        chosen: list[str] = []
        unit_ms = self._unit_ms
        for bucket in sorted(self._buckets):
            is_old = (bucket + 1) * unit_ms <= before_ms
            if len(chosen) >= count and not is_old:
                break
            names = set(self._buckets.pop(bucket))
            standing = [(last_ms(name), name) for name in names]
            there = sorted(
                (at, n) for at, n in standing if at is not None and at // unit_ms == bucket
            )
            ready = [name for _, name in there if not is_kept(name)]
            taken = ready if is_old else ready[: count - len(chosen)]
            chosen += taken
            if len(taken) < len(there):
                gone = set(taken)
                self._buckets[bucket] = [name for _, name in there if name not in gone]
        return chosen
