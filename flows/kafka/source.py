"""The events topic as a Bytewax source: a Kafka partition is a source partition.

The offset of the next record is in the snapshot, so the flow goes on exactly where it was, whatever
the group's committed offsets say.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition
from kafka import TopicPartition

from flows.kafka.client import partitions_of
from flows.kafka.hub import POLL_MS, Hub
from flows.kafka.start import first_offset
from operators.readers.records import record_reader
from operators.routing import SourceClock
from state.messages import SourceBatch
from state.snapshots import SOURCE, SourceState

if TYPE_CHECKING:
    from threading import Event as Flag

    from kafka.consumer.fetcher import ConsumerRecord

    from state.config import Settings
    from state.deadletters import DeadLetter
    from state.events import Event


def part_name(partition: TopicPartition) -> str:
    """The stored name of a partition.

    >>> part_name(TopicPartition("shop-events", 3))
    '3-shop-events'
    """
    return f"{partition.partition}-{partition.topic}"


def partition_named(name: str) -> TopicPartition:
    """The partition of a stored name.

    >>> partition_named("3-shop-events")
    TopicPartition(topic='shop-events', partition=3)
    """
    number, _, topic = name.partition("-")
    return TopicPartition(topic, int(number))


class KafkaPartition(StatefulSourcePartition[SourceBatch, bytes]):
    """One partition: small batches when little comes, up to the configured size when behind."""

    def __init__(
        self,
        source: KafkaSource,
        hub: Hub,
        partition: TopicPartition,
        state: SourceState,
        partitions: int,
    ) -> None:
        self._source = source
        self._hub = hub
        self._partition = partition
        self._partitions = partitions
        self._name = part_name(partition)
        self._read = record_reader(source.settings.kafka.format)
        self._offset = state.offset
        self._clock = SourceClock(state.batches, state.watermark_ms, state.totals)
        self._is_heard_of = False
        self._is_waiting = False
        hub.read_from(partition, state.offset)

    def next_batch(self) -> list[SourceBatch]:
        """What has come. The first batch may be empty: it tells the shards of this partition."""
        if self._source.stop.is_set():
            raise StopIteration
        records = self._hub.take(self._partition)
        self._is_waiting = not records
        if self._is_waiting and self._is_heard_of:
            return []
        self._is_heard_of = True
        if records:
            self._offset = records[-1].offset + 1
        return [
            self._clock.batch(
                self._events(records),
                partition=self._name,
                shards=self._source.settings.sessions.shards,
                allowed_lateness_ms=self._source.settings.sessions.allowed_lateness_ms,
                partitions=self._partitions,
            )
        ]

    def _events(self, records: list[ConsumerRecord]) -> list[Event | DeadLetter]:
        read, source, number = self._read, self._partition.topic, str(self._partition.partition)
        now_ms = time.time_ns() // 1_000_000
        events: list[Event | DeadLetter] = []
        for record in records:
            # A record arrived when the log says so, that a replay gives the same, but never in the
            # future: a producer's clock may be ahead.
            at_ms = record.timestamp if 0 <= record.timestamp < now_ms else now_ms
            raw = record.value or b""  # a tombstone says no more than an empty record
            events += read(
                raw,
                source=source,
                partition=number,
                offset=record.offset,
                now_ms=at_ms,
                received_ms=at_ms,
            )
        return events

    def next_awake(self) -> datetime | None:
        """At once after a batch, else after a moment."""
        if not self._is_waiting:
            return None
        return datetime.now(UTC) + timedelta(milliseconds=POLL_MS)

    def snapshot(self) -> bytes:
        """Where to go on."""
        clock = self._clock
        state = SourceState(self._offset, clock.batches, clock.watermark_ms, False, clock.totals)
        return SOURCE.encode(state)

    def close(self) -> None:
        """The last partition to end closes the connection."""
        self._source.closed(self._partition)


class KafkaSource(FixedPartitionedSource[SourceBatch, bytes]):
    """The events topic. When `stop` is set, every partition ends between two batches.

    A process with `lists=False` lists no partitions: others read for it. One worker a process.
    """

    def __init__(self, settings: Settings, stop: Flag, *, lists: bool = True) -> None:
        self.settings = settings
        self.stop = stop
        self._lists = lists
        self._hub: Hub | None = None
        self._open: set[TopicPartition] = set()

    def list_parts(self) -> list[str]:
        """The names of the partitions there are. Raises UserError: no broker, no topic."""
        return [part_name(one) for one in self._partitions()] if self._lists else []

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> KafkaPartition:
        """One partition, from where its snapshot left it, else from where `kafka.start` says."""
        hub, partition = self._connected(), partition_named(for_part)
        if resume_state is None:
            state = SourceState(offset=first_offset(hub.client, partition, self.settings.kafka))
        else:
            state = SOURCE.decode(resume_state)
        self._open.add(partition)
        return KafkaPartition(self, hub, partition, state, len(self._partitions()))

    def _partitions(self) -> list[TopicPartition]:
        return partitions_of(self._connected().client, self.settings.kafka)

    def _connected(self) -> Hub:
        if self._hub is None:
            self._hub = Hub(self.settings.kafka, self.settings.source.batch_events)
        return self._hub

    def closed(self, partition: TopicPartition) -> None:
        """Hear that a partition has ended."""
        self._open.discard(partition)
        if not self._open and self._hub is not None:
            self._hub.close()
            self._hub = None
