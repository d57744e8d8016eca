"""One partition of a live log as a Bytewax source partition: records to batches of events.

Stored: its snapshot (`state.snapshots.SourceState`), which has the offset of the next record.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import repeat
from typing import TYPE_CHECKING, Protocol

from bytewax.inputs import StatefulSourcePartition

from flows.process import liveness
from flows.sources.live_connection import (
    CHECK_INTERVAL_S,
    IDLE_POLL_MS,
    RESPONSE_TIMEOUT_MS,
    partition_name,
)
from operators.events.decode import RecordPosition
from operators.readers.registry import batch_decoder, record_reader
from operators.shards.batching import SourceBatcher
from state.messages import SourceBatch
from state.snapshots import SOURCE_CODEC, SourceState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kafka import TopicPartition

    from flows.sources.live_connection import LiveRecord, LogConnection
    from operators.events.currencies import CurrencyConverter
    from state.config import Settings
    from state.dead_letters import DeadLetter
    from state.events import Event

WATERMARK_DELAY_S = 0.5
"""After this time without records an empty batch carries the last watermark to the shards."""
RESPONSE_STALE_S = 2 * CHECK_INTERVAL_S + RESPONSE_TIMEOUT_MS / 1000
"""An older response of the log does not prove that a partition is idle."""


class PartitionOwner(Protocol):
    """The source of a partition: what its partitions share and report to it."""

    settings: Settings
    converter: CurrencyConverter
    next_offsets: dict[TopicPartition, int]
    snapshot_offsets: dict[TopicPartition, int]

    @property
    def is_stopping(self) -> bool:
        """Whether the partition must end before its next batch."""

    def on_partition_closed(self, partition: TopicPartition) -> None:
        """Note that a partition has ended."""


class LivePartition(StatefulSourcePartition[SourceBatch, bytes]):
    """Reads one partition: small batches when few records arrive, larger ones during a backlog."""

    def __init__(
        self,
        owner: PartitionOwner,
        connection: LogConnection,
        partition: TopicPartition,
        state: SourceState,
    ) -> None:
        self._owner = owner
        self._settings = owner.settings
        self._consumer = connection.consumer
        self._monitor = connection.monitor
        self._partition = partition
        self._partitions = len(connection.partitions)
        self._name = partition_name(partition)
        self._read_record = record_reader(connection.record_format)
        self._decode_batch = batch_decoder(connection.record_format)
        self._idle_ms = connection.idle_ms
        self._offset = state.offset
        self._topic_id = state.topic_id
        self._batcher = SourceBatcher(state.batches, state.watermark_ms, state.totals)
        owner.converter.resume(state.totals.currency)
        self._is_announced = False
        self._is_idle = False
        self._emitted_watermark_ms = 0
        self._quiet_since_s = time.monotonic()
        self._quiet_ms = 0
        self._snapshot_offset: int | None = None
        self._consumer.assign(partition, state.offset)
        self._monitor.add(partition)

    def next_batch(self) -> list[SourceBatch]:
        """The next batch. The first may be empty: it announces the partition to the shards."""
        liveness.mark_progress()
        self._commit()
        if self._owner.is_stopping:
            raise StopIteration
        records = self._consumer.take_records(self._partition)
        self._is_idle = not records
        idle_ms = 0 if records else self._idle_ms_to_report()
        if self._is_idle and self._is_announced and not idle_ms and not self._must_emit_watermark():
            return []
        self._is_announced = True
        if records:
            self._offset = records[-1].offset + 1
            self._owner.next_offsets[self._partition] = self._offset
            self._quiet_since_s, self._quiet_ms = time.monotonic(), 0
        self._emitted_watermark_ms = self._batcher.watermark_ms
        events, offsets = self._decode(records)
        sessions = self._settings.sessions
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
                converter=self._owner.converter,
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

        Idle time counts only while the log confirms that there are no records: event time does not
        advance while the log is away or records wait.
        """
        now_s, limit_ms = time.monotonic(), self._idle_ms
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

    def _decode(self, records: Sequence[LiveRecord]) -> tuple[list[Event | DeadLetter], list[int]]:
        """The events and dead letters in records, and the offset of each."""
        topic, number = self._partition.topic, str(self._partition.partition)
        now_ms, limits = time.time_ns() // 1_000_000, self._settings.source.limits
        # The time of receipt is the record's timestamp, so that a replay gives the same, but never
        # in the future: a producer's clock may be ahead.
        times_ms = [
            record.timestamp if 0 <= record.timestamp < now_ms else now_ms for record in records
        ]
        raws = [record.value or b"" for record in records]  # a tombstone is as an empty record
        good = self._decode_batch(raws, times_ms, limits) if self._decode_batch else repeat(None)
        events: list[Event | DeadLetter] = []
        offsets: list[int] = []
        for record, raw, at_ms, event in zip(records, raws, times_ms, good, strict=False):
            if event is not None:
                events.append(event)
                offsets.append(record.offset)
                continue
            decoded = self._read_record(
                raw,
                RecordPosition(topic, number, record.offset),
                now_ms=at_ms,
                received_ms=at_ms,
                limits=limits,
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
        self._snapshot_offset = self._owner.snapshot_offsets[self._partition] = self._offset
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
        self._owner.on_partition_closed(self._partition)
