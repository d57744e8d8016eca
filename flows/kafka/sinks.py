"""Sinks for dead letters and changes: at least once, confirmed before their epoch is committed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.kafka.producer import Producer
from flows.sinks.dead_letters import DEAD_LETTERS_PART
from state.dead_letters import DeadLetter, Erasure

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.changes import ChangeFields
    from state.config_deployment import Kafka

Record = tuple[bytes, bytes]
"""Key and value."""

T = TypeVar("T")


class _TopicPartition(StatefulSinkPartition["list[T]", "int | None"], Generic[T]):
    def __init__(
        self,
        producer: Producer,
        to_record: Callable[[T], Record | None],
        resume_state: int | None,
        verify_owner: Callable[[], None] | None,
    ) -> None:
        self._producer = producer
        self._verify_owner = verify_owner
        self._to_record = to_record
        self._resume_state = resume_state

    def write_batch(self, values: list[list[T]]) -> None:
        if self._verify_owner is not None:
            self._verify_owner()
        for batch in values:
            for item in batch:
                record = self._to_record(item)
                if record is not None:
                    self._producer.send(*record)

    def snapshot(self) -> int | None:
        # An epoch may only be committed when all its records have arrived.
        self._producer.flush_and_check()
        return self._resume_state

    def close(self) -> None:
        self._producer.close()


class TopicSink(FixedPartitionedSink["list[T]", "int | None"], Generic[T]):
    """Writes the items of lists to a topic, each as the record that `to_record` makes of it.

    `verify_owner` is called before items are sent; it raises if another run has taken over.

    A recovery folder knows the sink by the `name` of its one partition. A topic that replaces a
    file uses the name of the file's partition and keeps its stored state, so that a run can switch
    back.
    """

    def __init__(
        self,
        kafka: Kafka,
        topic: str,
        to_record: Callable[[T], Record | None],
        name: str,
        verify_owner: Callable[[], None] | None = None,
    ) -> None:
        self._verify_owner = verify_owner
        self._kafka = kafka
        self._name = name
        self._topic = topic
        self._to_record = to_record

    def list_parts(self) -> list[str]:
        """One partition, so that records arrive in the order in which they are sent."""
        return [self._name]

    def build_part(
        self, step_id: str, for_part: str, resume_state: int | None
    ) -> _TopicPartition[T]:
        """A partition with its own producer. Raises UserError without a broker or topic."""
        producer = Producer(self._kafka, self._topic)
        return _TopicPartition(producer, self._to_record, resume_state, self._verify_owner)


def dead_letter_topic(kafka: Kafka) -> TopicSink[DeadLetter | Erasure]:
    """Dead letters to `kafka.dead_letters`, keyed by source and partition of the record."""
    return TopicSink(kafka, kafka.dead_letters, dead_letter_record, DEAD_LETTERS_PART)


def change_topic(
    kafka: Kafka, verify_owner: Callable[[], None] | None = None
) -> TopicSink[ChangeFields]:
    """Changes to `kafka.changes`, keyed by shopper; consumers ignore an `id` that they know already."""
    return TopicSink(kafka, kafka.changes, change_record, "topic", verify_owner)


def dead_letter_record(letter: DeadLetter | Erasure) -> Record | None:
    """A dead letter as a record: the JSON of a line of the file.

    An erasure gives no record: records in a topic cannot be changed.
    """
    if isinstance(letter, Erasure):
        return None
    return f"{letter.source}/{letter.partition}".encode(), msgspec.json.encode(letter)


def change_record(change: ChangeFields) -> Record:
    """A change as a record."""
    return str(change["shopper"]).encode(), msgspec.json.encode(change)
