"""The statistics of segments: size, entries and exits, and what their shoppers ordered in a day."""

from typing import Any

from operators.publish import segment_stats as segment_stats
from operators.segments.membership_index import MembershipIndex
from operators.segments.segment_scan import SegmentScan
from state import keys
from state.money import MICROS_PER_UNIT
from state.times import DAY_MS, HOUR_MS, MINUTE_MS
from tests.operators.segments.test_membership_index import CLUSTERS, apply, fields, put


def stats(index: MembershipIndex, now_ms: int) -> dict[str, dict[str, Any]]:
    found = {}
    scanned = SegmentScan().scan(index, now_ms, last=False)
    day = segment_stats.day_stats(index, scanned, now_ms)
    writes = segment_stats.stats_writes(index, day, now_ms, 0, 7)
    for sid, write in zip(index.registry.ids, writes, strict=True):
        assert write[:2] == ("HSET", keys.stats_key(sid))
        found[sid] = fields(write)
    return found


def test_statistics_of_a_segment() -> None:
    index = MembershipIndex(CLUSTERS[:2])
    now_ms = 30 * DAY_MS
    put(index, {"cat": 0}, at_ms=now_ms - 2 * DAY_MS)
    put(index, {"ann": 0, "bob": 0}, at_ms=now_ms - MINUTE_MS)
    apply(index, ("bob", "vip", True, now_ms - MINUTE_MS))
    index.count_order(1, 30 * MICROS_PER_UNIT, now_ms - HOUR_MS)
    index.count_order(1, 5 * MICROS_PER_UNIT, now_ms)
    index.count_order(2, 99 * MICROS_PER_UNIT, now_ms - 2 * DAY_MS)
    put(index, {"ann": 1}, at_ms=now_ms)
    when = {"watermark_ms": 7, "at": now_ms}
    bought = {
        "conversion_1d": "0.5000",
        "revenue_1d": "5.00",
        "aov_1d": "5.00",
        "orders_1d": 1,
        "buyers_1d": 1,
        "shoppers_1d": 2,
    }
    nothing = dict.fromkeys(bought, 0) | {
        "conversion_1d": "0.0000",
        "revenue_1d": "0.00",
        "aov_1d": "0.00",
        "shoppers_1d": 1,
    }
    after, none_after = (
        {"orders_after_1d": orders, "revenue_after_1d": revenue}
        for orders, revenue in ((1, "5.00"), (0, "0.00"))
    )
    alone = {"conversion_1d": "1.0000", "shoppers_1d": 1}
    assert stats(index, now_ms) == {
        "cluster-0": {"size": 2, "identified": 1, "entered_5m": 2, "left_5m": 1}
        | bought
        | after
        | when,
        "cluster-1": {"size": 1, "identified": 0, "entered_5m": 1, "left_5m": 0}
        | nothing
        | none_after
        | when,
        "vip": {"size": 1, "identified": 1, "entered_5m": 1, "left_5m": 0}
        | bought
        | alone
        | after
        | when,
    }
