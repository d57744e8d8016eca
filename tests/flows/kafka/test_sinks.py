"""The sinks for topics: an item is a record, in order, confirmed before its epoch is committed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from flows.kafka.sinks import change_topic, dead_letter_topic
from flows.sinks.dead_letters import DEAD_LETTERS_PART
from state import config_loader
from state.dead_letters import DeadLetter, Erasure
from state.errors import LeaseError
from tests.flows.kafka.test_dead_letters import records_of

if TYPE_CHECKING:
    from state.changes import ChangeFields
    from state.config_deployment import Kafka
    from tests.kafka_broker import AnyBroker

CHANGES: list[ChangeFields] = [
    {"id": "7-1", "kind": "enter", "shopper": "ann", "segment": "buyers"},
    {"id": "7-2", "kind": "leave", "shopper": "bob", "segment": "buyers"},
]


def kafka(broker: AnyBroker, **topics: str) -> Kafka:
    keys = {"bootstrap_servers": broker.address, **topics}
    overrides = tuple(f"kafka.{key}={value}" for key, value in keys.items())
    return config_loader.load(overrides=overrides, environment={}).kafka


def letter(offset: int) -> DeadLetter:
    return DeadLetter(
        failure_type="not_json", errors=(), source="shop", partition="3", offset=offset, raw="?"
    )


def test_dead_letters_are_records_keyed_by_their_origin_and_an_erasure_is_none(
    kafka_broker: AnyBroker,
) -> None:
    topic = kafka_broker.create_topic("letters", partitions=1)
    sink = dead_letter_topic(kafka(kafka_broker, dead_letters=topic))
    # The partition has the name of the file's, so that a run can switch between the two.
    assert sink.list_parts() == [DEAD_LETTERS_PART]
    partition = sink.build_part("dead_letters", DEAD_LETTERS_PART, 4711)
    partition.write_batch([[letter(1)], [Erasure("ann"), letter(2)]])
    assert partition.snapshot() == 4711
    partition.close()
    records = records_of(kafka_broker, topic)
    assert [(one.key, json.loads(one.value)["offset"]) for one in records] == [
        (b"shop/3", 1),
        (b"shop/3", 2),
    ]


def test_changes_are_records_keyed_by_shopper(kafka_broker: AnyBroker) -> None:
    topic = kafka_broker.create_topic("changes", partitions=1)
    partition = change_topic(kafka(kafka_broker, changes=topic)).build_part(
        "changes", "topic", None
    )
    partition.write_batch([CHANGES])
    partition.snapshot()
    partition.close()
    records = records_of(kafka_broker, topic)
    assert [(one.key, json.loads(one.value)) for one in records] == [
        (b"ann", CHANGES[0]),
        (b"bob", CHANGES[1]),
    ]


def test_nothing_is_sent_by_a_run_that_another_has_taken_over(kafka_broker: AnyBroker) -> None:
    topic = kafka_broker.create_topic("fenced", partitions=1)

    def verify_owner() -> None:
        raise LeaseError("another run took over")

    sink = change_topic(kafka(kafka_broker, changes=topic), verify_owner)
    partition = sink.build_part("changes", "topic", None)
    with pytest.raises(LeaseError):
        partition.write_batch([CHANGES])
    partition.close()
    assert records_of(kafka_broker, topic) == []
