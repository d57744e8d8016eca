"""Dead letters and changes into topics: at least once, and before the epoch they belong to is stored."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import msgspec
from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.kafka.producer import Producer
from flows.sinks.redis import DEAD_LETTERS_PART
from state.dead_letters import DeadLetter, Forgotten

if TYPE_CHECKING:
    from collections.abc import Callable

    from operators.segments.changes import ChangeFields
    from state.config import Kafka

Record = tuple[bytes, bytes]
"""Key and value."""

T = TypeVar("T")


class _TopicPartition(StatefulSinkPartition["list[T]", "int | None"], Generic[T]):
    def __init__(
        self,
        producer: Producer,
        record: Callable[[T], Record | None],
        stored: int | None,
        verify: Callable[[], None] | None,
    ) -> None:
        self._producer = producer
        self._verify = verify
        self._record = record
        self._stored = stored

    def write_batch(self, values: list[list[T]]) -> None:
        if self._verify is not None:
            self._verify()
        for batch in values:
            for one in batch:
                record = self._record(one)
                if record is not None:
                    self._producer.send(*record)

    def snapshot(self) -> int | None:
        # An epoch may only be committed when all that it sent has arrived.
        self._producer.settle()
        return self._stored

    def close(self) -> None:
        self._producer.close()


class TopicSink(FixedPartitionedSink["list[T]", "int | None"], Generic[T]):
    """Lists of things into a topic, each as the record that `record` makes of it.

    `verify` is asked before some are sent, and raises where another run took over.

    A recovery folder knows the sink by the name of its one partition, so a topic that takes the place
    of a file has the name of that, and keeps what was stored of it.
    """

    def __init__(
        self,
        kafka: Kafka,
        topic: str,
        record: Callable[[T], Record | None],
        name: str,
        verify: Callable[[], None] | None = None,
    ) -> None:
        self._verify = verify
        self._kafka = kafka
        self._name = name
        self._topic = topic
        self._record = record

    def list_parts(self) -> list[str]:
        """One: what is sent in order arrives in order."""
        return [self._name]

    def build_part(
        self, step_id: str, for_part: str, resume_state: int | None
    ) -> _TopicPartition[T]:
        """A producer of this worker's own. Raises UserError: no broker, no topic."""
        producer = Producer(self._kafka, self._topic)
        return _TopicPartition(producer, self._record, resume_state, self._verify)


def dead_letter_topic(kafka: Kafka) -> TopicSink[DeadLetter | Forgotten]:
    """Dead letters to `kafka.dead_letters`, keyed by where they come from."""
    return TopicSink(kafka, kafka.dead_letters, dead_letter_record, DEAD_LETTERS_PART)


def change_topic(kafka: Kafka, verify: Callable[[], None] | None = None) -> TopicSink[ChangeFields]:
    """Changes to `kafka.changes`, keyed by shopper; consumers drop those whose `id` they have had."""
    return TopicSink(kafka, kafka.changes, change_record, "topic", verify)


def dead_letter_record(letter: DeadLetter | Forgotten) -> Record | None:
    """A dead letter on the wire: the JSON of a line of the file. What a topic holds cannot be changed
    where somebody was erased."""
    if isinstance(letter, Forgotten):
        return None
    return f"{letter.source}/{letter.partition}".encode(), msgspec.json.encode(letter)


def change_record(change: ChangeFields) -> Record:
    """A change on the wire."""
    return str(change["shopper"]).encode(), msgspec.json.encode(change)
