"""The events topic as a Bytewax source: a Kafka partition is a source partition.

The snapshot has the offset of the next record, so the flow resumes exactly where it stopped; it
ignores the committed offsets of the group.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.kafka.broker_monitor import (
    INTERVAL_S,
    RESPONSE_TIMEOUT_MS,
    BrokerMonitor,
    commit_offsets,
)
from flows.kafka.client import (
    create_consumer,
    errors_as_user_errors,
    parse_partition_name,
    partition_name,
    partitions_of,
    topic_id,
)
from flows.kafka.shared_consumer import IDLE_POLL_MS, SharedConsumer
from flows.kafka.start_offsets import (
    OffsetRange,
    available_offsets,
    checked_offset,
    fallback_offset,
    first_offsets,
)
from flows.process import liveness
from operators.events.currencies import CurrencyConverter
from operators.readers.records import record_reader
from operators.shards.batching import SourceBatcher
from state.errors import SourceError, UserError
from state.messages import SourceBatch
from state.snapshots import SOURCE_CODEC, SourceState

if TYPE_CHECKING:
    from collections.abc import Collection
    from threading import Event as Flag

    from kafka import TopicPartition
    from kafka.consumer.fetcher import ConsumerRecord

    from state.config import Settings
    from state.dead_letters import DeadLetter
    from state.events import Event

WATERMARK_DELAY_S = 0.5
"""After this time without records an empty batch carries the last watermark to the shards."""
RESPONSE_STALE_S = 2 * INTERVAL_S + RESPONSE_TIMEOUT_MS / 1000
"""An older response of the broker does not prove that a partition is idle."""

_log = logging.getLogger("penstock.kafka")


class KafkaPartition(StatefulSourcePartition[SourceBatch, bytes]):
    """Reads one partition: small batches when few records arrive, larger ones during a backlog."""

    def __init__(
        self,
        source: KafkaSource,
        shared_consumer: SharedConsumer,
        monitor: BrokerMonitor,
        partition: TopicPartition,
        state: SourceState,
        partitions: int,
    ) -> None:
        self._source = source
        self._shared_consumer = shared_consumer
        self._monitor = monitor
        self._partition = partition
        self._partitions = partitions
        self._name = partition_name(partition)
        self._read_record = record_reader(source.settings.kafka.format)
        self._offset = state.offset
        self._topic_id = state.topic_id
        self._batcher = SourceBatcher(state.batches, state.watermark_ms, state.totals)
        source.exchange.resume(state.totals.currency)
        self._is_announced = False
        self._is_idle = False
        self._emitted_watermark_ms = 0
        self._quiet_since_s = time.monotonic()
        self._quiet_ms = 0
        self._snapshot_offset: int | None = None
        shared_consumer.assign(partition, state.offset)
        monitor.add(partition)

    def next_batch(self) -> list[SourceBatch]:
        """The next batch. The first may be empty: it announces the partition to the shards."""
        liveness.mark_progress()
        self._commit()
        if self._source.is_stopping:
            raise StopIteration
        records = self._shared_consumer.take_records(self._partition)
        self._is_idle = not records
        idle_ms = 0 if records else self._idle_ms_to_report()
        if self._is_idle and self._is_announced and not idle_ms and not self._must_emit_watermark():
            return []
        self._is_announced = True
        if records:
            self._offset = records[-1].offset + 1
            self._source.next_offsets[self._partition] = self._offset
            self._quiet_since_s, self._quiet_ms = time.monotonic(), 0
        self._emitted_watermark_ms = self._batcher.watermark_ms
        events, offsets = self._decode(records)
        sessions = self._source.settings.sessions
        return [
            self._batcher.batch(
                events,
                partition=self._name,
                shards=sessions.shards,
                allowed_lateness_ms=sessions.allowed_lateness_ms,
                jump_ms=sessions.jump_ms,
                partitions=self._partitions,
                idle_ms=idle_ms,
                live=True,
                now_ms=time.time_ns() // 1_000_000,
                origin=(self._partition.topic, str(self._partition.partition)),
                offsets=offsets,
                converter=self._source.exchange,
            )
        ]

    def _must_emit_watermark(self) -> bool:
        """Whether the last records moved the watermark and no later batch has carried it yet."""
        quiet_s = time.monotonic() - self._quiet_since_s
        is_behind = (
            self._emitted_watermark_ms < self._batcher.watermark_ms or self._batcher.has_pending
        )
        return is_behind and quiet_s >= WATERMARK_DELAY_S

    def _idle_ms_to_report(self) -> int:
        """How long the partition has been idle, if the shards must be informed again, else 0.

        Idle time counts only while the broker confirms that there are no records: event time does not
        advance while the broker is away or records wait.
        """
        now_s, limit_ms = time.monotonic(), self._source.settings.kafka.idle_ms
        elapsed_ms = round((now_s - self._quiet_since_s) * 1000)
        if elapsed_ms < limit_ms:
            return 0
        self._quiet_since_s = now_s
        end, checked_s = self._monitor.ends.get(self._partition, (0, 0.0))
        if end > self._offset or now_s - checked_s > RESPONSE_STALE_S:
            return 0
        self._quiet_ms += elapsed_ms
        return self._quiet_ms

    def _commit(self) -> None:
        # When Bytewax asks for the first batch of an epoch, the epoch before is in the recovery store.
        if self._snapshot_offset is not None:
            self._monitor.schedule_commit(self._partition, self._snapshot_offset)
            self._snapshot_offset = None

    def _decode(self, records: list[ConsumerRecord]) -> tuple[list[Event | DeadLetter], list[int]]:
        """The events and dead letters in records, and the offset of each."""
        read_record, source, number = (
            self._read_record,
            self._partition.topic,
            str(self._partition.partition),
        )
        now_ms = time.time_ns() // 1_000_000
        events: list[Event | DeadLetter] = []
        offsets: list[int] = []
        for record in records:
            # The time of receipt is the record's timestamp, so that a replay gives the same, but never
            # in the future: a producer's clock may be ahead.
            at_ms = record.timestamp if 0 <= record.timestamp < now_ms else now_ms
            raw = record.value or b""  # a tombstone is treated as an empty record
            decoded = read_record(
                raw,
                source=source,
                partition=number,
                offset=record.offset,
                now_ms=at_ms,
                received_ms=at_ms,
                limits=self._source.settings.source.limits,
            )
            events += decoded
            offsets += [record.offset] * len(decoded)
        return events, offsets

    def next_awake(self) -> datetime | None:
        """At once after a batch with records, else after a short pause."""
        if not self._is_idle:
            return None
        return datetime.now(UTC) + timedelta(milliseconds=IDLE_POLL_MS)

    def snapshot(self) -> bytes:
        """The offset of the next record, and the state of the watermark."""
        self._snapshot_offset = self._source.snapshot_offsets[self._partition] = self._offset
        batcher = self._batcher
        return SOURCE_CODEC.encode(
            SourceState(
                self._offset,
                batcher.batches,
                batcher.watermark_ms,
                False,
                batcher.totals,
                self._topic_id,
            )
        )

    def close(self) -> None:
        """Close the partition; the last one closes the connection."""
        self._source.on_partition_closed(self._partition)


class KafkaSource(FixedPartitionedSource[SourceBatch, bytes]):
    """The events topic, for one worker. When `stop` is set, every partition ends between two batches.

    With `is_reader=False` the process lists no partitions: other processes read them.
    `known_partitions` are the names of the partitions in the recovery store; set it before the
    partitions are listed. `snapshot_offsets` are the offsets in the last snapshots, `next_offsets`
    those of the next records.
    """

    def __init__(
        self,
        settings: Settings,
        stop: Flag,
        *,
        is_reader: bool = True,
        known_partitions: Collection[str] = (),
    ) -> None:
        self.settings = settings
        self.exchange = CurrencyConverter(settings.money)
        self.known_partitions = known_partitions
        self.next_offsets: dict[TopicPartition, int] = {}
        self.snapshot_offsets: dict[TopicPartition, int] = {}
        self._stop = stop
        self._is_reader = is_reader
        self._shared_consumer: SharedConsumer | None = None
        self._monitor: BrokerMonitor | None = None
        self._available: dict[TopicPartition, OffsetRange] = {}
        self._starts: dict[TopicPartition, int] = {}
        self._topic_id = ""
        self._open_partitions: set[TopicPartition] = set()
        self.repartitioned = False
        self._is_stop_requested = False

    def request_stop(self) -> None:
        """End every partition between two batches, so that the run starts again. For any thread."""
        self._is_stop_requested = True

    @property
    def is_stopping(self) -> bool:
        """Whether to stop now: on request, or because the topic has new partitions (`repartitioned`)."""
        if self._monitor is not None and self._monitor.has_more_partitions:
            self.repartitioned = True
        return self._stop.is_set() or self._is_stop_requested or self.repartitioned

    @property
    def is_reachable(self) -> bool:
        """Whether the broker answered the last check, which happens every second."""
        return self._monitor is None or self._monitor.is_reachable

    @property
    def last_response_s(self) -> float | None:
        """When the broker answered last (`time.monotonic`); None before the first check."""
        return None if self._monitor is None else self._monitor.last_response_s

    @property
    def lag(self) -> dict[str, int]:
        """The number of unread records by partition name."""
        if self._monitor is None:
            return {}
        ends = self._monitor.ends
        return {
            partition_name(partition): max(0, ends[partition][0] - offset)
            for partition, offset in self.next_offsets.items()
            if partition in ends
        }

    def list_parts(self) -> list[str]:
        """The names of the topic's partitions.

        Raises UserError without a broker or topic, or if the topic has lost partitions.
        """
        if not self._is_reader:
            return []
        self._connect()
        names = [partition_name(partition) for partition in self._available]
        if missing := sorted(set(self.known_partitions).difference(names)):
            self.close()
            raise SourceError(
                f"the recovery folder has partitions that Kafka does not have: "
                f"{', '.join(missing)}: set kafka.topic back, or start again with an empty "
                "recovery folder"
            )
        return names

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> KafkaPartition:
        """One partition, from the offset in its snapshot, else from where `kafka.start` says."""
        shared_consumer, monitor = self._connect()
        partition = parse_partition_name(for_part)
        if resume_state is None:
            state = SourceState(offset=self._starts[partition])
        else:
            state = SOURCE_CODEC.decode(resume_state)
        state.offset = self._resume_offset(partition, state)
        state.topic_id = self._topic_id
        self.next_offsets[partition] = state.offset
        self._open_partitions.add(partition)
        return KafkaPartition(
            self, shared_consumer, monitor, partition, state, len(self._available)
        )

    def _resume_offset(self, partition: TopicPartition, state: SourceState) -> int:
        """The offset at which to resume. Raises UserError if the next record no longer exists."""
        available, kafka = self._available[partition], self.settings.kafka
        if state.topic_id and state.topic_id != self._topic_id:
            problem = f"topic {partition.topic} was deleted and recreated since this run read it"
            cause = (
                f"offset {state.offset} of partition {partition.partition} is another record now"
            )
            return fallback_offset(available, kafka, problem, cause)
        return checked_offset(available, partition, state.offset, kafka)

    def _connect(self) -> tuple[SharedConsumer, BrokerMonitor]:
        if self._shared_consumer is None or self._monitor is None:
            kafka = self.settings.kafka
            shared_consumer = SharedConsumer(kafka, self.settings.source.batch_events)
            try:
                self._available = available_offsets(
                    shared_consumer.client,
                    partitions_of(shared_consumer.client, kafka, kafka.topic),
                    kafka,
                )
                # A partition that was added during the run is read from its beginning.
                start = "earliest" if self.known_partitions else kafka.start
                self._starts = first_offsets(shared_consumer.client, self._available, kafka, start)
                self._topic_id = topic_id(kafka)
            except UserError:
                shared_consumer.close()
                raise
            self._shared_consumer, self._monitor = (
                shared_consumer,
                BrokerMonitor(kafka, len(self._available)),
            )
        return self._shared_consumer, self._monitor

    def on_partition_closed(self, partition: TopicPartition) -> None:
        """Note that a partition has ended, and close the connection after the last one."""
        self._open_partitions.discard(partition)
        if not self._open_partitions:
            self.close()

    def close(self) -> None:
        """Close the connections to the broker."""
        if self._shared_consumer is not None and self._monitor is not None:
            self._shared_consumer.close()
            self._monitor.close()
            self._shared_consumer = None

    def commit_final_offsets(self) -> None:
        """Commit the offsets of the last snapshots to the group, after a clean end of the flow."""
        if not self.snapshot_offsets:
            return
        kafka = self.settings.kafka
        try:
            client = create_consumer(
                kafka, group_id=kafka.group, bootstrap_timeout_ms=RESPONSE_TIMEOUT_MS
            )
            with closing(client), errors_as_user_errors(kafka):
                commit_offsets(client, self.snapshot_offsets)
        except SourceError as error:
            _log.warning(
                "the committed offsets of group %s are out of date: %s", kafka.group, error
            )
