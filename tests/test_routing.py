"""The clock of a source partition: how far time has come, and who is late."""

from __future__ import annotations

from operators.routing import SourceClock
from state.events import Event

MINUTE_MS = 60_000
NOW_MS = 1_700_000_000_000


def late(clock: SourceClock, events: list[Event]) -> list[str]:
    batch = clock.batch(events, partition="0", shards=1, allowed_lateness_ms=5 * MINUTE_MS)
    group = batch.groups[0]
    return [
        event.event_id
        for event, clock_ms in zip(group.events, group.clock, strict=True)
        if event.event_ts < clock_ms
    ]


def test_a_clock_that_is_ahead_makes_nobody_late() -> None:
    ahead = Event("ahead", "page_view", NOW_MS + 5 * MINUTE_MS, NOW_MS, user_id="ann")
    after = Event("after", "page_view", NOW_MS - 4 * MINUTE_MS, NOW_MS, user_id="bob")
    stale = Event("stale", "page_view", NOW_MS - 6 * MINUTE_MS, NOW_MS, user_id="cleo")
    clock = SourceClock()
    assert late(clock, [ahead, after, stale]) == ["stale"]
    assert clock.watermark_ms == NOW_MS - 5 * MINUTE_MS
