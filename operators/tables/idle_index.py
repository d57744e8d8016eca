"""Finds the names that were not seen for longest, in event time, without a scan of all names.

Use this to evict by inactivity where things are known by name (shoppers, devices). Not stored: made
again after a resume. Related: `timers` for names that are due at a time of their own; `row_timers` for
rows of a table that are due; `operators.catalogue.last_seen` where all item rows are scanned at once,
stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class IdleIndex:
    """Names in buckets by when they were last seen, an hour or a day each.

    A name may also be in buckets of earlier times: `longest_idle` skips these.

    >>> index = IdleIndex(10); seen = {"ann": 5, "bob": 31, "eve": 7}
    >>> for name, at in seen.items(): index.add(name, at)
    >>> index.longest_idle(1, 0, seen.get, lambda name: name == "ann")
    ['eve']
    >>> index.longest_idle(0, 20, seen.get, lambda name: False)
    ['ann']
    """

    __slots__ = ("_bucket_ms", "_buckets")

    def __init__(self, bucket_ms: int) -> None:
        self._bucket_ms = bucket_ms
        self._buckets: dict[int, list[str]] = {}

    def add(self, name: str, at_ms: int) -> None:
        """Note when a name was seen. The first time in a bucket is enough."""
        self._buckets.setdefault(at_ms // self._bucket_ms, []).append(name)

    def longest_idle(
        self,
        count: int,
        before_ms: int,
        last_seen_ms: Callable[[str], int | None],
        is_pinned: Callable[[str], bool],
    ) -> list[str]:
        """Remove and return at least `count` names, longest idle first, and all idle since `before_ms`.

        `last_seen_ms` gives when a name was last seen, None if it no longer exists. A name that
        `is_pinned` is not returned.
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
