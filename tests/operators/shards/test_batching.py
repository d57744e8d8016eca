"""The batching step: records in, a batch for all shards; the watermark and what counts as late."""

from __future__ import annotations

from operators.events.decode import decode_lines
from operators.publish.counters import Counters
from operators.shards.batching import SourceBatcher
from state.dead_letters import DeadLetter
from state.events import Event
from state.messages import BatchId, ShardOutput
from tests.plain_values import plain
from tests.streams import LATENESS_MS, MINUTE_MS, SHARDS, START_MS, event, view

NOW_MS = 1_700_000_000_000
SECOND_MS = START_MS + MINUTE_MS - LATENESS_MS
"""The watermark after the second event: its time less the allowed lateness."""


def test_a_batch_has_an_input_for_every_shard_and_dead_letters() -> None:
    """Shard 1 keeps `ann`. Shard 0 keeps `u1`, which `ann` mentions. An erasure goes to all shards."""
    letter = DeadLetter(
        failure_type="not_json", errors=(), source="s", partition="p", offset=11, raw=""
    )
    records: list[Event | DeadLetter] = [
        view(1, 0, "ann"),
        letter,
        event("identify", 2, MINUTE_MS, "ann", "u1"),
        event("erase", 3, 2 * MINUTE_MS, None, "u1"),
    ]
    batcher = SourceBatcher()
    batch = batcher.batch(
        records, partition="p", shards=2, allowed_lateness_ms=LATENESS_MS, offsets=[10, 11, 12, 13]
    )
    received_ms = (START_MS, 0, START_MS + MINUTE_MS, START_MS + 2 * MINUTE_MS)
    assert plain(batch) == {
        "shard_inputs": [
            {
                "batch": "p/0",
                "events": ["3"],
                "positions": [3],
                "watermarks_ms": [SECOND_MS],
                "offsets": [13],
                "user_mentions": [(2, "u1", START_MS + MINUTE_MS, START_MS - LATENESS_MS)],
                "erased_users": ["u1"],
                "source_totals": {
                    "p": {
                        "read": 4,
                        "rejected": {"not_json": 1},
                        "by_type": {"item_view": 1, "identify": 1, "erase": 1},
                        "source": "p",
                    }
                },
                "received_ms": b"".join(ms.to_bytes(8, "little") for ms in received_ms).hex(),
            },
            {
                "batch": "p/0",
                "shard": 1,
                "events": ["1", "2", "3"],
                "positions": [0, 2, 3],
                "watermarks_ms": [0, START_MS - LATENESS_MS, SECOND_MS],
                "offsets": [10, 12, 13],
                "erased_users": ["u1"],
            },
        ],
        "rejected": ["not_json"],
    }
    assert (batcher.batches, batcher.watermark_ms) == (1, SECOND_MS + MINUTE_MS)


class TestSourceBatcher:
    def clock(self, *records: Event | DeadLetter) -> tuple[SourceBatcher, list[tuple[int, int]]]:
        clock = SourceBatcher()
        batch = clock.batch(records, partition="p", shards=SHARDS, allowed_lateness_ms=LATENESS_MS)
        told = [
            pair
            for g in batch.shard_inputs
            for pair in zip(g.positions, g.watermarks_ms, strict=True)
        ]
        return clock, sorted(told)

    def test_each_event_has_the_watermark_before_it(self) -> None:
        clock, told = self.clock(view(1, 0), view(2, 10, "bob"), view(3, 5, "cat"))
        base_ms = START_MS - LATENESS_MS
        assert told == [(0, 0), (1, base_ms), (2, base_ms + 10)]
        assert clock.watermark_ms == base_ms + 10

    def test_every_shard_gets_every_batch(self) -> None:
        clock = SourceBatcher()
        for n in range(2):
            batch = clock.batch([view(n, n)], partition="p", shards=SHARDS, allowed_lateness_ms=0)
            assert [group.shard for group in batch.shard_inputs] == list(range(SHARDS))
            assert {group.batch for group in batch.shard_inputs} == {
                BatchId("p", n, START_MS if n else 0, False, 1)
            }

    def test_records_are_counted_by_type_and_by_failure(self) -> None:
        letter = DeadLetter(
            failure_type="not_json", errors=(), source="s", partition="p", offset=0, raw=""
        )
        clock, told = self.clock(view(1, 0), letter, view(2, 1))
        assert [position for position, _ in told] == [0, 2]
        totals = clock.totals
        assert (totals.read, totals.rejected, totals.by_type) == (
            3,
            {"not_json": 1},
            {"item_view": 2},
        )


def late(clock: SourceBatcher, events: list[Event]) -> list[str]:
    batch = clock.batch(events, partition="0", shards=1, allowed_lateness_ms=5 * MINUTE_MS)
    group = batch.shard_inputs[0]
    return [
        event.event_id
        for event, clock_ms in zip(group.events, group.watermarks_ms, strict=True)
        if event.event_ts < clock_ms
    ]


def test_a_clock_that_is_ahead_makes_no_event_late() -> None:
    ahead = Event("ahead", "page_view", NOW_MS + 5 * MINUTE_MS, NOW_MS, user_id="ann")
    after = Event("after", "page_view", NOW_MS - 4 * MINUTE_MS, NOW_MS, user_id="bob")
    stale = Event("stale", "page_view", NOW_MS - 6 * MINUTE_MS, NOW_MS, user_id="cleo")
    clock = SourceBatcher()
    assert late(clock, [ahead, after, stale]) == ["stale"]
    assert clock.watermark_ms == NOW_MS - 5 * MINUTE_MS


def test_clamped_clocks_are_counted_and_stored_with_the_offset() -> None:
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
