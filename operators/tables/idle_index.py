"""Who was not seen for longest, in event time, without looking at everybody."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class IdleIndex:
    """Names by when they were last seen, to the hour or the day; under older ones too.

    >>> idle = IdleIndex(10); seen = {"ann": 5, "bob": 31, "eve": 7}
    >>> for name, at in seen.items(): idle.add(name, at)
    >>> idle.longest_idle(1, 0, seen.get, lambda name: name == "ann")
    ['eve']
    >>> idle.longest_idle(0, 20, seen.get, lambda name: False)
    ['ann']
    """

    __slots__ = ("_bucket_ms", "_buckets")

    def __init__(self, bucket_ms: int) -> None:
        self._bucket_ms = bucket_ms
        self._buckets: dict[int, list[str]] = {}

    def add(self, name: str, at_ms: int) -> None:
        """Note when a name was seen: the first time in an hour or day is enough."""
        self._buckets.setdefault(at_ms // self._bucket_ms, []).append(name)

    def longest_idle(
        self,
        count: int,
        before_ms: int,
        last_seen_ms: Callable[[str], int | None],
        is_pinned: Callable[[str], bool],
    ) -> list[str]:
        """At least `count` names, the longest not seen first, and all not seen since `before_ms`.

        `last_seen_ms` says when a name was last seen, None for one that is no more; who
        `is_pinned` stays.
        """
        chosen: list[str] = []
        bucket_ms = self._bucket_ms
        for bucket in sorted(self._buckets):
            is_old = (bucket + 1) * bucket_ms <= before_ms
            if len(chosen) >= count and not is_old:
                break
            names = set(self._buckets.pop(bucket))
            last_seen = [(last_seen_ms(name), name) for name in names]
            current = sorted(
                (at, n) for at, n in last_seen if at is not None and at // bucket_ms == bucket
            )
            evictable = [name for _, name in current if not is_pinned(name)]
            evicted = evictable if is_old else evictable[: count - len(chosen)]
            chosen += evicted
            if len(evicted) < len(current):
                taken_names = set(evicted)
                self._buckets[bucket] = [name for _, name in current if name not in taken_names]
        return chosen
