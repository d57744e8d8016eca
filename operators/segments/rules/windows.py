"""Windows of events, packed: sorted by time, the newest last.

Of `times` an entry is the time (ms, 8 bytes); of `keyed`, `items` and `sums` a key or an amount (8
bytes) follows; a key stands once in `keyed`, and in `items` each time. Which of the newest entries are
kept does not depend on the order in which they came, nor on how two windows that are merged had been
divided.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache
from hashlib import blake2b
from struct import Struct
from typing import TYPE_CHECKING

from state.money import add

if TYPE_CHECKING:
    from collections.abc import Iterable

TIME_BYTES = 8
PAIR_BYTES = 16
SUMS_EXACT = 256
"""Of sums the newest so many entries are kept one by one, older ones by bucket."""
_SUMS_MAX = 384
BUCKETS = 64
_TIME, _PAIR = Struct(">q"), Struct(">qq")


def times(window: bytes) -> list[int]:
    """The times of a window without keys, oldest first."""
    return [at_ms for (at_ms,) in _TIME.iter_unpack(window)]


def add_time(window: bytes, packed: bytes, size: int) -> bytes:
    """Note an event at a time, which is packed; the newest `size` bytes are kept.

    >>> window = b""
    >>> for at in (5, 9, 7, 1): window = add_time(window, at.to_bytes(8, "big"), 3 * TIME_BYTES)
    >>> times(window)
    [5, 7, 9]
    """
    if packed >= window[-TIME_BYTES:]:
        return (window + packed)[-size:]
    place = bisect_right(times(window), int.from_bytes(packed, "big")) * TIME_BYTES
    return (window[:place] + packed + window[place:])[-size:]


def merge_times(one: bytes, other: bytes, size: int) -> bytes:
    """The newest times of two windows, `size` bytes at most."""
    merged = sorted(times(one) + times(other))
    return b"".join(at.to_bytes(TIME_BYTES, "big") for at in merged)[-size:]


def pairs(window: bytes) -> list[tuple[int, int]]:
    """The times of a window with their keys or amounts, oldest first."""
    return list(_PAIR.iter_unpack(window))


@lru_cache(1 << 15)
def key_of(text: str) -> bytes:
    """What stands for a text in a window of keys: 63 bits."""
    digest = blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1).to_bytes(8, "big")


def add_key(window: bytes, packed: bytes, key: bytes, size: int) -> bytes:
    """Note when a key was last seen, which is packed; the newest `size` bytes are kept.

    >>> window, pack = b"", lambda number: number.to_bytes(8, "big")
    >>> for at, key in ((5, 1), (9, 2), (7, 1), (6, 2), (8, 3)):
    ...     window = add_key(window, pack(at), pack(key), 2 * PAIR_BYTES)
    >>> pairs(window)
    [(8, 3), (9, 2)]
    """
    if packed <= window[-PAIR_BYTES:-TIME_BYTES]:
        return _newest_keys([*_PAIR.iter_unpack(window), *_PAIR.iter_unpack(packed + key)], size)
    # What nearly every event is: newer than all, of a key that is there or not.
    found = window.find(key)
    while found >= 0 and found % PAIR_BYTES != TIME_BYTES:
        found = window.find(key, found + 1)
    if found >= 0:
        return window[: found - TIME_BYTES] + window[found + TIME_BYTES :] + packed + key
    return (window + packed + key)[-size:]


def merge_keys(one: bytes, other: bytes, size: int) -> bytes:
    """The newest keys of two windows, `size` bytes at most."""
    return _newest_keys([*_PAIR.iter_unpack(one), *_PAIR.iter_unpack(other)], size)


def add_items(window: bytes, packed: bytes, keys: Iterable[bytes], size: int) -> bytes:
    """Note what keys an event at a time had, which is packed; the newest `size` bytes are kept.

    >>> window, pack = b"", lambda number: number.to_bytes(8, "big")
    >>> for at, keys in ((5, [1]), (9, [2, 1]), (7, [1])):
    ...     window = add_items(window, pack(at), map(pack, keys), 3 * PAIR_BYTES)
    >>> pairs(window)
    [(7, 1), (9, 1), (9, 2)]
    """
    entries = b"".join(packed + key for key in sorted({*keys}))
    if packed > window[-PAIR_BYTES:-TIME_BYTES]:
        return (window + entries)[-size:]
    return merge_items(window, entries, size)


def merge_items(one: bytes, other: bytes, size: int) -> bytes:
    """The newest entries of two windows, `size` bytes at most, a key each time it was noted."""
    merged = sorted([*_PAIR.iter_unpack(one), *_PAIR.iter_unpack(other)])
    return b"".join(_PAIR.pack(*pair) for pair in merged)[-size:]


def times_by_key(window: bytes) -> dict[int, list[int]]:
    """When each key was noted, oldest first."""
    found: dict[int, list[int]] = {}
    for at_ms, key in _PAIR.iter_unpack(window):
        found.setdefault(key, []).append(at_ms)
    return found


def _newest_keys(seen: Iterable[tuple[int, int]], size: int) -> bytes:
    last: dict[int, int] = {}
    for at_ms, key in seen:
        if last.get(key, -1) < at_ms:
            last[key] = at_ms
    newest = sorted((at_ms, key) for key, at_ms in last.items())
    return b"".join(_PAIR.pack(*pair) for pair in newest)[-size:]


def add_amount(
    window: bytes, packed: bytes, amount: int, within_ms: int | None, now_ms: int
) -> bytes:
    """Note an amount at a time, which is packed; what has left the window is forgotten."""
    at_ms = int.from_bytes(packed, "big")
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
            sums[end_ms] = add(sums.get(end_ms, 0), amount)
        entries = sorted([*sums.items(), *entries[-SUMS_EXACT:]])
    return b"".join(_PAIR.pack(*entry) for entry in entries)


def without(
    form: str, window: bytes, kept: bytes, at_ms: tuple[int, int], amount: int | None
) -> bytes:
    """A window without an event that it noted at the first of two times, and another at the second.

    Only if the other window, which is to be merged with it, does have it: of `sums` the same amount,
    if it is known.

    >>> one, other = add_time(b"", (5).to_bytes(8, "big"), 16), add_time(b"", bytes(8), 16)
    >>> times(without("times", one, other, (5, 0), None)), times(without("times", one, one, (5, 0), 1))
    ([], [5])
    """
    lost_ms, kept_ms = at_ms
    if form == "times":
        found = times(window)
        if lost_ms in found and kept_ms in times(kept):
            found.remove(lost_ms)
        return b"".join(at.to_bytes(TIME_BYTES, "big") for at in found)
    entries = pairs(window)
    if form == "sums":
        theirs = [by for at, by in pairs(kept) if at == kept_ms]
        mine = [by for at, by in entries if at == lost_ms]
        if theirs and mine:
            likely = [by for by in mine if by == amount or by in theirs]
            entries.remove((lost_ms, (likely or mine)[0]))
        return b"".join(_PAIR.pack(*entry) for entry in entries)
    theirs = [key for at, key in pairs(kept) if at == kept_ms]
    entries = [(at, key) for at, key in entries if at != lost_ms or key not in theirs]
    return b"".join(_PAIR.pack(*entry) for entry in entries)
