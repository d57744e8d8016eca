"""Counts by minute and by hour: each bucket is closed once, and late events count in the open one."""

from __future__ import annotations

import numpy as np

from operators.tables.time_buckets import TimeBuckets, history_entry
from state.times import HOUR_MS, MINUTE_MS

VIEWS, ORDERS = 0, 1


def closed(buckets: TimeBuckets, clock_ms: int) -> list[tuple[str, int, list[int], list[int]]]:
    """What was closed, of the one row: unit, start in minutes, counts, counts after it."""
    return [
        (unit, at_ms // MINUTE_MS, counts[0].tolist(), since[0].tolist())
        for unit, at_ms, counts, since in buckets.take_closed(clock_ms, 1)
    ]


def test_a_bucket_is_closed_once_when_it_has_ended() -> None:
    buckets = TimeBuckets(2)
    buckets.add(VIEWS, 0, MINUTE_MS)
    buckets.add(VIEWS, 0, MINUTE_MS + 5)
    buckets.add(ORDERS, 0, 3 * MINUTE_MS, count=4)
    assert closed(buckets, 2 * MINUTE_MS - 1) == []
    assert closed(buckets, 2 * MINUTE_MS) == [("minutes", 1, [2, 0], [0, 4])]
    assert closed(buckets, 9 * MINUTE_MS) == [("minutes", 3, [0, 4], [0, 0])]
    assert closed(buckets, HOUR_MS) == [("hours", 0, [2, 4], [0, 0])]


def test_a_late_event_counts_in_the_open_minute() -> None:
    buckets = TimeBuckets(1)
    assert closed(buckets, 5 * MINUTE_MS) == []
    buckets.add(VIEWS, 0, 2 * MINUTE_MS)
    assert closed(buckets, 6 * MINUTE_MS) == [("minutes", 5, [1], [0])]


def test_many_times_count_as_one_by_one() -> None:
    one_by_one, at_once = TimeBuckets(1), TimeBuckets(1)
    times = np.array([7, 3 * MINUTE_MS, 8, 3 * MINUTE_MS + 1, 60 * MINUTE_MS])
    for at_ms in times.tolist():
        one_by_one.add(VIEWS, 0, at_ms)
    at_once.add_many(VIEWS, 0, times)
    assert closed(one_by_one, 2 * HOUR_MS) == closed(at_once, 2 * HOUR_MS)


def test_sums_cover_the_last_minutes_and_old_buckets_are_removed() -> None:
    buckets = TimeBuckets(1)
    for minute in range(10):
        buckets.add(VIEWS, 0, minute * MINUTE_MS)
    now_ms = 9 * MINUTE_MS
    assert buckets.sum_since("minutes", now_ms, 1).tolist() == [[6]]
    assert buckets.sum_since("hours", now_ms, 2).tolist() == [[10], [0]]
    assert not buckets.is_empty(0)
    assert buckets.is_empty(1)
    closed(buckets, now_ms + 40 * HOUR_MS)
    assert buckets.is_empty(0)


def test_restored_buckets_continue_in_the_same_way() -> None:
    plain = TimeBuckets(2)
    plain.add(ORDERS, 0, 5 * MINUTE_MS, count=2)
    closed(plain, 2 * MINUTE_MS)
    restored = TimeBuckets(2)
    restored.restore(plain.arrays())
    for buckets in (plain, restored):
        buckets.add(VIEWS, 0, 0)
    assert closed(plain, HOUR_MS) == closed(restored, HOUR_MS)


def test_an_entry_has_the_time_of_its_bucket_as_id() -> None:
    assert history_entry("k", "minutes", MINUTE_MS, {"views": 2}) == (
        *("XADD", "k", "MAXLEN", "~", 11_520, "60000-0"),
        *("views", 2),
    )
