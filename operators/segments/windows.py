"""Windows of events, packed: sorted by time, the newest last.

Of `times` an entry is the time (ms, 8 bytes); of `keyed` and `sums` a key or an amount (8 bytes)
follows. Which of the newest entries are kept does not depend on the order in which they came, nor on
how two windows that are merged had been divided.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

TIME_BYTES = 8
PAIR_BYTES = 16
SUMS_EXACT = 256
"""Of sums the newest so many entries are kept one by one, older ones by bucket."""
_SUMS_MAX = 384
BUCKETS = 64
_PAIR = Struct(">qq")


def times(window: bytes) -> list[int]:
    """The times of a window without keys, oldest first."""
    return [
        int.from_bytes(window[at : at + TIME_BYTES], "big")
        for at in range(0, len(window), TIME_BYTES)
    ]


def add_time(window: bytes, at_ms: int, most: int) -> bytes:
    """Note an event; the newest `most` are kept.

    >>> window = b""
    >>> for at in (5, 9, 7, 1): window = add_time(window, at, 3)
    >>> times(window)
    [5, 7, 9]
    """
    entry = at_ms.to_bytes(TIME_BYTES, "big")
    if entry >= window[-TIME_BYTES:]:
        window += entry
    else:
        there = times(window)
        place = bisect_right(there, at_ms) * TIME_BYTES
        window = window[:place] + entry + window[place:]
    excess = len(window) - most * TIME_BYTES
    return window[excess:] if excess > 0 else window


def merge_times(one: bytes, other: bytes, most: int) -> bytes:
    """The newest `most` of two windows."""
    merged = sorted(times(one) + times(other))[-most:]
    return b"".join(at.to_bytes(TIME_BYTES, "big") for at in merged)


def pairs(window: bytes) -> list[tuple[int, int]]:
    """The times of a window with their keys or amounts, oldest first."""
    return list(_PAIR.iter_unpack(window))


@lru_cache(1 << 15)
def key_of(text: str) -> int:
    """What stands for a text in a window of keys: 63 bits."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def add_key(window: bytes, at_ms: int, key: int, most: int) -> bytes:
    """Note when a key was last seen; the newest `most` keys are kept.

    >>> window = b""
    >>> for at, key in ((5, 1), (9, 2), (7, 1), (6, 2), (8, 3)): window = add_key(window, at, key, 2)
    >>> pairs(window)
    [(8, 3), (9, 2)]
    """
    entry = at_ms.to_bytes(TIME_BYTES, "big") + key.to_bytes(TIME_BYTES, "big")
    if window and entry[:TIME_BYTES] <= window[-PAIR_BYTES:-TIME_BYTES]:
        return _newest_keys([*_PAIR.iter_unpack(window), (at_ms, key)], most)
    # What nearly every event is: newer than all, of a key that is there or not.
    own = entry[TIME_BYTES:]
    found = window.find(own)
    while found >= 0 and found % PAIR_BYTES != TIME_BYTES:
        found = window.find(own, found + 1)
    if found >= 0:
        return window[: found - TIME_BYTES] + window[found + TIME_BYTES :] + entry
    return (window + entry)[-most * PAIR_BYTES :]


def merge_keys(one: bytes, other: bytes, most: int) -> bytes:
    """The newest `most` keys of two windows."""
    return _newest_keys([*_PAIR.iter_unpack(one), *_PAIR.iter_unpack(other)], most)


def _newest_keys(seen: Iterable[tuple[int, int]], most: int) -> bytes:
    last: dict[int, int] = {}
    for at_ms, key in seen:
        if last.get(key, -1) < at_ms:
            last[key] = at_ms
    newest = sorted((at_ms, key) for key, at_ms in last.items())[-most:]
    return b"".join(_PAIR.pack(*pair) for pair in newest)


def add_amount(window: bytes, at_ms: int, amount: int, within_ms: int | None, now_ms: int) -> bytes:
    """Note an amount; what has left the window is forgotten."""
    return _amounts([*_PAIR.iter_unpack(window), (at_ms, amount)], within_ms, now_ms)


def merge_amounts(one: bytes, other: bytes, within_ms: int | None, now_ms: int) -> bytes:
    """All amounts of two windows."""
    both = [*_PAIR.iter_unpack(one), *_PAIR.iter_unpack(other)]
    return _amounts(both, within_ms, now_ms)


def _amounts(entries: list[tuple[int, int]], within_ms: int | None, now_ms: int) -> bytes:
    """Packed amounts; where there are too many, older ones as one at the end of their bucket."""
    if within_ms is not None:
        before_ms = now_ms - within_ms
        entries = [entry for entry in entries if entry[0] > before_ms]
    entries.sort()
    if len(entries) > _SUMS_MAX:
        sums: dict[int, int] = {}
        for at_ms, amount in entries[:-SUMS_EXACT]:
            end_ms = 0
            if within_ms is not None:
                bucket_ms = -(-within_ms // BUCKETS)
                end_ms = (at_ms // bucket_ms + 1) * bucket_ms - 1
            sums[end_ms] = sums.get(end_ms, 0) + amount
        entries = sorted([*sums.items(), *entries[-SUMS_EXACT:]])
    return b"".join(_PAIR.pack(*entry) for entry in entries)
