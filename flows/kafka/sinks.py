"""Dead letters and changes into topics: at least once, and before the epoch they belong to is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.kafka.producer import Producer
from flows.sinks.redis import DEAD_LETTERS_PART
from state.dead_letters import DeadLetter, Erasure

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.changes import ChangeFields
    from state.config import Kafka

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
        # An epoch may only be committed when all that it sent has arrived.
        self._producer.flush_and_check()
        return self._resume_state

    def close(self) -> None:
        self._producer.close()


class TopicSink(FixedPartitionedSink["list[T]", "int | None"], Generic[T]):
    """Lists of things into a topic, each as the record that `record` makes of it.

    `verify_owner` is asked before some are sent, and raises where another run took over.

    A recovery folder knows the sink by the name of its one partition, so a topic that takes the place
    of a file has the name of that, and keeps what was stored of it.
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
        """One: what is sent in order arrives in order."""
        return [self._name]

    def build_part(
        self, step_id: str, for_part: str, resume_state: int | None
    ) -> _TopicPartition[T]:
        """A producer of this worker's own. Raises UserError: no broker, no topic."""
        producer = Producer(self._kafka, self._topic)
        return _TopicPartition(producer, self._to_record, resume_state, self._verify_owner)


def dead_letter_topic(kafka: Kafka) -> TopicSink[DeadLetter | Erasure]:
    """Dead letters to `kafka.dead_letters`, keyed by where they come from."""
    return TopicSink(kafka, kafka.dead_letters, dead_letter_record, DEAD_LETTERS_PART)


def change_topic(
    kafka: Kafka, verify_owner: Callable[[], None] | None = None
) -> TopicSink[ChangeFields]:
    """Changes to `kafka.changes`, keyed by shopper; consumers drop those whose `id` they have had."""
    return TopicSink(kafka, kafka.changes, change_record, "topic", verify_owner)


def dead_letter_record(letter: DeadLetter | Erasure) -> Record | None:
    """A dead letter on the wire: the JSON of a line of the file. What a topic holds cannot be changed
    where somebody was erased."""
    if isinstance(letter, Erasure):
        return None
    return f"{letter.source}/{letter.partition}".encode(), msgspec.json.encode(letter)


def change_record(change: ChangeFields) -> Record:
    """A change on the wire."""
    return str(change["shopper"]).encode(), msgspec.json.encode(change)
