"""The clock of a source partition: how far time has come, and who is late."""

from __future__ import annotations

from operators.events.decode import decode_lines
from operators.publish.counters import Counters
from operators.shards.batching import SourceBatcher
from state.events import Event
from state.messages import ShardOutput

MINUTE_MS = 60_000
NOW_MS = 1_700_000_000_000


def late(clock: SourceBatcher, events: list[Event]) -> list[str]:
    batch = clock.batch(events, partition="0", shards=1, allowed_lateness_ms=5 * MINUTE_MS)
    group = batch.shard_inputs[0]
    return [
        event.event_id
        for event, clock_ms in zip(group.events, group.watermarks_ms, strict=True)
        if event.event_ts < clock_ms
    ]


def test_a_clock_that_is_ahead_makes_nobody_late() -> None:
    ahead = Event("ahead", "page_view", NOW_MS + 5 * MINUTE_MS, NOW_MS, user_id="ann")
    after = Event("after", "page_view", NOW_MS - 4 * MINUTE_MS, NOW_MS, user_id="bob")
    stale = Event("stale", "page_view", NOW_MS - 6 * MINUTE_MS, NOW_MS, user_id="cleo")
    clock = SourceBatcher()
    assert late(clock, [ahead, after, stale]) == ["stale"]
    assert clock.watermark_ms == NOW_MS - 5 * MINUTE_MS


def test_clocks_that_were_set_back_are_counted_and_stored_with_the_offset() -> None:
    lines = [
        b'{"event_id":"%d","type":"page_view","user_id":"ann","event_ts":%d,"received_ts":%d}'
        % (n, NOW_MS + ahead, NOW_MS)
        for n, ahead in enumerate((0, 4 * MINUTE_MS, 6 * MINUTE_MS, 90 * MINUTE_MS))
    ]
    events = [*decode_lines(lines, source="s", partition="0", first_offset=0, now_ms=NOW_MS)]
    clock = SourceBatcher()
    batch = clock.batch(events, partition="0", shards=1, allowed_lateness_ms=MINUTE_MS)
    assert (clock.totals.read, clock.totals.clamped) == (4, 2)
    ledger = Counters()
    head = batch.shard_inputs[0]
    ledger.update(ShardOutput(head.batch, 0, 0, last=False, source_totals=head.source_totals))
    assert ledger.clamped_events == Counters.from_state(ledger.state()).clamped_events == 2
