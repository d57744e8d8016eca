"""The history of segments: an entry for each minute and hour in which something happened."""

import numpy as np

from operators.segments.counts import ENTERED, LEFT, ORDERS, REVENUE_MICROS, SegmentCounts
from state import keys
from state.times import HOUR_MS, MINUTE_MS
from tests.streams import arguments

VIP, NEW = 0, 1
IDS = ["vip", "new"]


def entries(counts: SegmentCounts, clock_ms: int, sizes: list[int]) -> list[tuple[str, ...]]:
    """Of each entry: key, id, size, entered, left, purchases, revenue."""
    writes = [arguments(write) for write in counts.writes(clock_ms, IDS, np.array(sizes))]
    return [(str(w[1]), *map(str, (w[5], w[7], w[9], w[11], w[13], w[15]))) for w in writes]


def test_an_entry_is_written_once_when_its_minute_or_hour_is_over() -> None:
    counts = SegmentCounts()
    counts.add(ENTERED, VIP, 10)
    counts.add(ENTERED, VIP, MINUTE_MS + 1)
    counts.add(LEFT, VIP, MINUTE_MS + 2)
    counts.add(ORDERS, NEW, MINUTE_MS + 2)
    counts.add(REVENUE_MICROS, NEW, MINUTE_MS + 2, 2_500_000)
    assert entries(counts, MINUTE_MS + 3, [1, 0]) == [
        (keys.history_key("vip"), "0-0", "1", "1", "0", "0", "0.00")
    ]
    assert entries(counts, 2 * MINUTE_MS, [1, 0]) == [
        (keys.history_key("vip"), "60000-0", "1", "1", "1", "0", "0.00"),
        (keys.history_key("new"), "60000-0", "0", "0", "0", "1", "2.50"),
    ]
    assert entries(counts, HOUR_MS, [1, 0]) == [
        (keys.history_hours_key("vip"), "0-0", "1", "2", "1", "0", "0.00"),
        (keys.history_hours_key("new"), "0-0", "0", "0", "0", "1", "2.50"),
    ]
