"""Records that hold many events: one bad event does not cost the others, and none is read twice."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from state.dead_letters import DeadLetter
from state.events import Event
from tests.kafka_runs import Run, send
from tests.operators.readers.records import TEN_MS, read, read_error, track_call

if TYPE_CHECKING:
    from pathlib import Path

    from tests.kafka_broker import AnyBroker


def test_only_the_bad_events_of_a_batch_become_dead_letters() -> None:
    good = track_call("Product Viewed", {"product_id": "mug"})
    bad = {**good, "anonymousId": "guest", "messageId": "n"}
    event, letter = read("segment", {"batch": [good, bad], "writeKey": "k"})
    assert isinstance(event, Event)
    assert isinstance(letter, DeadLetter)
    assert json.loads(letter.raw) == bad
    assert read_error("segment", letter.raw.encode()) == (
        "blocked_id",
        "$.anonymousId",
        "'guest' identifies no shopper",
    )


def test_a_kafka_record_with_many_events_is_read_once(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    """Offsets count records: the second run continues after the last one, whatever its events."""
    topic = kafka_broker.create_topic("batches", partitions=1)

    def batch(*ids: int) -> bytes:
        events = [
            track_call("Product Viewed", {"product_id": "mug"}, messageId=str(n)) for n in ids
        ]
        return json.dumps({"batch": [*events, {**events[0], "anonymousId": "null"}]}).encode()

    run = Run(kafka_broker, topic, tmp_path, format="segment")
    for ids in ([1, 2, 3], [4, 5]):
        send(kafka_broker, topic, [batch(*ids)])
        run.until(lambda last=ids[-1]: last in run.ids)  # type: ignore[misc]
    assert run.ids == [1, 2, 3, 4, 5]
    assert [(one.offset, one.failure_type) for one in run.letters] == [
        (0, "blocked_id"),
        (1, "blocked_id"),
    ]
    (tmp_path / "ga4").mkdir()
    topic = kafka_broker.create_topic("untimed", partitions=1)
    run = Run(kafka_broker, topic, tmp_path / "ga4", format="ga4")
    request = {"client_id": "1.2", "events": [{"name": "page_view"}, {"name": "scroll"}]}
    send(kafka_broker, topic, [json.dumps(request).encode()], timestamp_ms=TEN_MS)
    run.until(lambda: any(group.events for batch in run.batches for group in batch.shard_inputs))
    found = [e for batch in run.batches for group in batch.shard_inputs for e in group.events]
    assert [(event.type, event.event_ts) for event in found] == [
        ("page_view", TEN_MS),
        ("custom", TEN_MS),
    ]
