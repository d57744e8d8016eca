"""Windows of events, packed into bytes: sorted by time, the newest last.

An entry of `times` is a time (ms, 8 bytes). In `keyed`, `items` and `sums` a key or an amount (8
bytes) follows the time; a key is there once in `keyed`, and each time it came in `items`. Which of
the newest entries are kept depends neither on the order in which events came, nor on how two
windows that are merged were divided.

Stored in snapshots: the layout must not change.
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
"""The newest entries of sums are kept one by one, older ones by bucket."""
_SUMS_MAX = 384
BUCKETS = 64
_TIME, _PAIR = Struct(">q"), Struct(">qq")


def unpack_times(window: bytes) -> list[int]:
    """The times of a window without keys, oldest first."""
    return [at_ms for (at_ms,) in _TIME.iter_unpack(window)]


def add_time(window: bytes, packed_ms: bytes, bytes_max: int) -> bytes:
    """Add the time of an event; the newest `bytes_max` bytes are kept.

    >>> window = b""
    >>> for at in (5, 9, 7, 1): window = add_time(window, at.to_bytes(8, "big"), 3 * TIME_BYTES)
    >>> unpack_times(window)
    [5, 7, 9]
    """
    if packed_ms >= window[-TIME_BYTES:]:
        return (window + packed_ms)[-bytes_max:]
    index = bisect_right(unpack_times(window), int.from_bytes(packed_ms, "big")) * TIME_BYTES
    return (window[:index] + packed_ms + window[index:])[-bytes_max:]


def merge_times(first: bytes, second: bytes, bytes_max: int) -> bytes:
    """The newest times of two windows, `bytes_max` bytes at most."""
    merged = sorted(unpack_times(first) + unpack_times(second))
    return b"".join(at.to_bytes(TIME_BYTES, "big") for at in merged)[-bytes_max:]


def unpack_pairs(window: bytes) -> list[tuple[int, int]]:
    """The times of a window with their keys or amounts, oldest first."""
    return list(_PAIR.iter_unpack(window))


@lru_cache(1 << 15)
def hash_key(text: str) -> bytes:
    """The key of a text in a window: 63 bits."""
    digest = blake2b(text.encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "big") >> 1).to_bytes(8, "big")


def add_key(window: bytes, packed_ms: bytes, key: bytes, bytes_max: int) -> bytes:
    """Set when a key came last; the newest `bytes_max` bytes are kept.

    >>> window, pack = b"", lambda number: number.to_bytes(8, "big")
    >>> for at, key in ((5, 1), (9, 2), (7, 1), (6, 2), (8, 3)):
    ...     window = add_key(window, pack(at), pack(key), 2 * PAIR_BYTES)
    >>> unpack_pairs(window)
    [(8, 3), (9, 2)]
    """
    if packed_ms <= window[-PAIR_BYTES:-TIME_BYTES]:
        return _newest_keys(
            [*_PAIR.iter_unpack(window), *_PAIR.iter_unpack(packed_ms + key)], bytes_max
        )
    # Nearly every event is newer than all others; its key is in the window or not.
    index = window.find(key)
    while index >= 0 and index % PAIR_BYTES != TIME_BYTES:
        index = window.find(key, index + 1)
    if index >= 0:
        return window[: index - TIME_BYTES] + window[index + TIME_BYTES :] + packed_ms + key
    return (window + packed_ms + key)[-bytes_max:]


def merge_keys(first: bytes, second: bytes, bytes_max: int) -> bytes:
    """The newest keys of two windows, `bytes_max` bytes at most."""
    return _newest_keys([*_PAIR.iter_unpack(first), *_PAIR.iter_unpack(second)], bytes_max)


def add_items(window: bytes, packed_ms: bytes, keys: Iterable[bytes], bytes_max: int) -> bytes:
    """Add the keys of one event; the newest `bytes_max` bytes are kept.

    >>> window, pack = b"", lambda number: number.to_bytes(8, "big")
    >>> for at, keys in ((5, [1]), (9, [2, 1]), (7, [1])):
    ...     window = add_items(window, pack(at), map(pack, keys), 3 * PAIR_BYTES)
    >>> unpack_pairs(window)
    [(7, 1), (9, 1), (9, 2)]
    """
    entries = b"".join(packed_ms + key for key in sorted({*keys}))
    if packed_ms > window[-PAIR_BYTES:-TIME_BYTES]:
        return (window + entries)[-bytes_max:]
    return merge_items(window, entries, bytes_max)


def merge_items(first: bytes, second: bytes, bytes_max: int) -> bytes:
    """The newest entries of two windows, `bytes_max` bytes at most, a key each time it came."""
    merged = sorted([*_PAIR.iter_unpack(first), *_PAIR.iter_unpack(second)])
    return b"".join(_PAIR.pack(*pair) for pair in merged)[-bytes_max:]


def times_by_key(window: bytes) -> dict[int, list[int]]:
    """When each key came, oldest first."""
    times: dict[int, list[int]] = {}
    for at_ms, key in _PAIR.iter_unpack(window):
        times.setdefault(key, []).append(at_ms)
    return times


def _newest_keys(entries: Iterable[tuple[int, int]], bytes_max: int) -> bytes:
    last_ms: dict[int, int] = {}
    for at_ms, key in entries:
        if last_ms.get(key, -1) < at_ms:
            last_ms[key] = at_ms
    newest = sorted((at_ms, key) for key, at_ms in last_ms.items())
    return b"".join(_PAIR.pack(*pair) for pair in newest)[-bytes_max:]


def add_amount(
    window: bytes, packed_ms: bytes, amount: int, within_ms: int | None, now_ms: int
) -> bytes:
    """Add an amount at a time; entries that have left the window are dropped."""
    at_ms = int.from_bytes(packed_ms, "big")
    return _pack_amounts([*_PAIR.iter_unpack(window), (at_ms, amount)], within_ms, now_ms)


def merge_amounts(first: bytes, second: bytes, within_ms: int | None, now_ms: int) -> bytes:
    """All amounts of two windows."""
    both = [*_PAIR.iter_unpack(first), *_PAIR.iter_unpack(second)]
    return _pack_amounts(both, within_ms, now_ms)


def _pack_amounts(entries: list[tuple[int, int]], within_ms: int | None, now_ms: int) -> bytes:
    """Pack amounts; where there are too many, older ones are added up at the end of their bucket."""
    if within_ms is not None:
        cutoff_ms = now_ms - within_ms
        entries = [entry for entry in entries if entry[0] > cutoff_ms]
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


def remove_event(
    form: str, window: bytes, other: bytes, at_ms: tuple[int, int], amount: int | None
) -> bytes:
    """Remove an event that a second window, which is to be merged with this one, has too.

    `at_ms` is the time of the event in this window and in the other. Nothing is removed where the
    other does not have it. In `sums` the entry with the same amount is removed, if the amount is
    known.

    >>> first, other = add_time(b"", (5).to_bytes(8, "big"), 16), add_time(b"", bytes(8), 16)
    >>> unpack_times(remove_event("times", first, other, (5, 0), None))
    []
    >>> unpack_times(remove_event("times", first, first, (5, 0), 1))
    [5]
    """
    removed_ms, other_ms = at_ms
    if form == "times":
        event_times = unpack_times(window)
        if removed_ms in event_times and other_ms in unpack_times(other):
            event_times.remove(removed_ms)
        return b"".join(at.to_bytes(TIME_BYTES, "big") for at in event_times)
    entries = unpack_pairs(window)
    if form == "sums":
        other_values = [value for at, value in unpack_pairs(other) if at == other_ms]
        own_values = [value for at, value in entries if at == removed_ms]
        if other_values and own_values:
            likely = [value for value in own_values if value == amount or value in other_values]
            entries.remove((removed_ms, (likely or own_values)[0]))
        return b"".join(_PAIR.pack(*entry) for entry in entries)
    other_values = [key for at, key in unpack_pairs(other) if at == other_ms]
    entries = [(at, key) for at, key in entries if at != removed_ms or key not in other_values]
    return b"".join(_PAIR.pack(*entry) for entry in entries)
