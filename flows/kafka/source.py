"""The events topic as a Bytewax source: a Kafka partition is a source partition.

The offset of the next record is in the snapshot, so the flow goes on exactly where it was, whatever
the group's committed offsets say.
"""

from __future__ import annotations

import logging
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from bytewax.inputs import FixedPartitionedSource, StatefulSourcePartition

from flows.kafka.broker_monitor import ANSWER_MS, EVERY_S, Watch, commit
from flows.kafka.client import (
    consumer,
    in_words,
    part_name,
    partition_named,
    partitions_of,
    topic_id,
)
from flows.kafka.shared_consumer import POLL_MS, Hub
from flows.kafka.start_offsets import Held, chosen, first_offsets, held, within
from flows.process import liveness
from operators.events.currencies import Exchange
from operators.readers.records import record_reader
from operators.shards.batching import SourceClock
from state.errors import UserError
from state.messages import SourceBatch
from state.snapshots import SOURCE, SourceState

if TYPE_CHECKING:
    from collections.abc import Collection
    from threading import Event as Flag

    from kafka import TopicPartition
    from kafka.consumer.fetcher import ConsumerRecord

    from state.config import Settings
    from state.dead_letters import DeadLetter
    from state.events import Event

TELL_S = 0.5
"""After so long without records the shards hear how far the last ones moved the watermark."""
STALE_S = 2 * EVERY_S + ANSWER_MS / 1000
"""An answer of the broker that is older says nothing of now."""

_log = logging.getLogger("penstock.kafka")


class KafkaPartition(StatefulSourcePartition[SourceBatch, bytes]):
    """One partition: small batches when little comes, up to the configured size when behind."""

    def __init__(
        self,
        source: KafkaSource,
        hub: Hub,
        watch: Watch,
        partition: TopicPartition,
        state: SourceState,
        partitions: int,
    ) -> None:
        self._source = source
        self._hub = hub
        self._watch = watch
        self._partition = partition
        self._partitions = partitions
        self._name = part_name(partition)
        self._read = record_reader(source.settings.kafka.format)
        self._offset = state.offset
        self._topic_id = state.topic_id
        self._clock = SourceClock(state.batches, state.watermark_ms, state.totals)
        source.exchange.resume(state.totals.currency)
        self._is_heard_of = False
        self._is_waiting = False
        self._told_ms = 0
        self._quiet_since_s = time.monotonic()
        self._quiet_ms = 0
        self._covered: int | None = None
        hub.read_from(partition, state.offset)
        watch.add(partition)

    def next_batch(self) -> list[SourceBatch]:
        """What has come. The first batch may be empty: it tells the shards of this partition."""
        liveness.beat()
        self._commit()
        if self._source.is_ending:
            raise StopIteration
        records = self._hub.take(self._partition)
        self._is_waiting = not records
        idle_ms = 0 if records else self._idle_ms()
        if self._is_waiting and self._is_heard_of and not idle_ms and not self._owes_a_watermark():
            return []
        self._is_heard_of = True
        if records:
            self._offset = records[-1].offset + 1
            self._source.offsets[self._partition] = self._offset
            self._quiet_since_s, self._quiet_ms = time.monotonic(), 0
        self._told_ms = self._clock.watermark_ms
        events, offsets = self._events(records)
        sessions = self._source.settings.sessions
        return [
            self._clock.batch(
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
                exchange=self._source.exchange,
            )
        ]

    def _owes_a_watermark(self) -> bool:
        """Whether the last records moved the watermark and no batch came after them to say so."""
        quiet_s = time.monotonic() - self._quiet_since_s
        is_behind = self._told_ms < self._clock.watermark_ms or self._clock.has_pending
        return is_behind and quiet_s >= TELL_S

    def _idle_ms(self) -> int:
        """How long nothing has come, where that has to be told again, else 0.

        Only while the broker says that there is nothing: while it is away, or records wait, time stands.
        """
        now_s, limit_ms = time.monotonic(), self._source.settings.kafka.idle_ms
        passed_ms = round((now_s - self._quiet_since_s) * 1000)
        if passed_ms < limit_ms:
            return 0
        self._quiet_since_s = now_s
        end, asked_s = self._watch.ends.get(self._partition, (0, 0.0))
        if end > self._offset or now_s - asked_s > STALE_S:
            return 0
        self._quiet_ms += passed_ms
        return self._quiet_ms

    def _commit(self) -> None:
        # Bytewax asks for the first batch of an epoch when the one before is in the recovery store.
        if self._covered is not None:
            self._watch.commit(self._partition, self._covered)
            self._covered = None

    def _events(self, records: list[ConsumerRecord]) -> tuple[list[Event | DeadLetter], list[int]]:
        """What records hold, and the offset of each."""
        read, source, number = self._read, self._partition.topic, str(self._partition.partition)
        now_ms = time.time_ns() // 1_000_000
        events: list[Event | DeadLetter] = []
        offsets: list[int] = []
        for record in records:
            # A record arrived when the log says so, that a replay gives the same, but never in the
            # future: a producer's clock may be ahead.
            at_ms = record.timestamp if 0 <= record.timestamp < now_ms else now_ms
            raw = record.value or b""  # a tombstone says no more than an empty record
            told = read(
                raw,
                source=source,
                partition=number,
                offset=record.offset,
                now_ms=at_ms,
                received_ms=at_ms,
                limits=self._source.settings.source.limits,
            )
            events += told
            offsets += [record.offset] * len(told)
        return events, offsets

    def next_awake(self) -> datetime | None:
        """At once after a batch, else after a moment."""
        if not self._is_waiting:
            return None
        return datetime.now(UTC) + timedelta(milliseconds=POLL_MS)

    def snapshot(self) -> bytes:
        """Where to go on."""
        self._covered = self._source.covered[self._partition] = self._offset
        clock = self._clock
        return SOURCE.encode(
            SourceState(
                self._offset,
                clock.batches,
                clock.watermark_ms,
                False,
                clock.totals,
                self._topic_id,
            )
        )

    def close(self) -> None:
        """The last partition to end closes the connection."""
        self._source.closed(self._partition)


class KafkaSource(FixedPartitionedSource[SourceBatch, bytes]):
    """The events topic, for one worker. When `stop` is set, every partition ends between two batches.

    With `lists=False` the process lists no partitions: others read for it. `stored` are the names of
    the partitions that the recovery store knows (`flows.kafka.stored_partitions`), set before any
    is asked for.
    `covered` is what the last snapshots cover, `offsets` the next record to read.
    """

    def __init__(
        self, settings: Settings, stop: Flag, *, lists: bool = True, stored: Collection[str] = ()
    ) -> None:
        self.settings = settings
        self.exchange = Exchange(settings.money)
        self.stored = stored
        self.offsets: dict[TopicPartition, int] = {}
        self.covered: dict[TopicPartition, int] = {}
        self._stop = stop
        self._lists = lists
        self._hub: Hub | None = None
        self._watch: Watch | None = None
        self._held: dict[TopicPartition, Held] = {}
        self._starts: dict[TopicPartition, int] = {}
        self._topic_id = ""
        self._open: set[TopicPartition] = set()
        self.repartitioned = False
        self._is_ended = False

    def end(self) -> None:
        """End every partition between two batches, so that the run begins again; from any thread."""
        self._is_ended = True

    @property
    def is_ending(self) -> bool:
        """Whether to end now: asked to, or because a run cannot take on partitions (`repartitioned`)."""
        if self._watch is not None and self._watch.has_more_partitions:
            self.repartitioned = True
        return self._stop.is_set() or self._is_ended or self.repartitioned

    @property
    def is_up(self) -> bool:
        """Whether the broker answered when it was asked last, which is every second or so."""
        return self._watch is None or self._watch.is_up

    @property
    def heard_s(self) -> float | None:
        """When the broker answered last (`time.monotonic`); None before it was asked."""
        return None if self._watch is None else self._watch.heard_s

    @property
    def lag(self) -> dict[str, int]:
        """How many records of each partition wait to be read, by its name."""
        if self._watch is None:
            return {}
        ends = self._watch.ends
        return {
            part_name(one): max(0, ends[one][0] - offset)
            for one, offset in self.offsets.items()
            if one in ends
        }

    def list_parts(self) -> list[str]:
        """The names of the partitions there are.

        Raises UserError: no broker, no topic, or a topic that has lost partitions.
        """
        if not self._lists:
            return []
        self._connect()
        names = [part_name(one) for one in self._held]
        if missing := sorted(set(self.stored).difference(names)):
            self.close()
            raise UserError(
                f"the recovery folder knows partitions that Kafka does not have: "
                f"{', '.join(missing)}: set kafka.topic back, or start again with an empty "
                "recovery folder"
            )
        return names

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> KafkaPartition:
        """One partition, from where its snapshot left it, else from where `kafka.start` says."""
        hub, watch = self._connect()
        partition = partition_named(for_part)
        if resume_state is None:
            state = SourceState(offset=self._starts[partition])
        else:
            state = SOURCE.decode(resume_state)
        state.offset = self._place(partition, state)
        state.topic_id = self._topic_id
        self.offsets[partition] = state.offset
        self._open.add(partition)
        return KafkaPartition(self, hub, watch, partition, state, len(self._held))

    def _place(self, partition: TopicPartition, state: SourceState) -> int:
        """The offset to begin at. Raises UserError where what comes next is not there any more."""
        found, kafka = self._held[partition], self.settings.kafka
        if state.topic_id and state.topic_id != self._topic_id:
            what = f"topic {partition.topic} was deleted and made anew since this run read it"
            why = f"offset {state.offset} of partition {partition.partition} is another record now"
            return chosen(found, kafka, what, why)
        return within(found, partition, state.offset, kafka)

    def _connect(self) -> tuple[Hub, Watch]:
        if self._hub is None or self._watch is None:
            kafka = self.settings.kafka
            hub = Hub(kafka, self.settings.source.batch_events)
            try:
                self._held = held(hub.client, partitions_of(hub.client, kafka, kafka.topic), kafka)
                # A partition that came while the run went on is read whole.
                start = "earliest" if self.stored else kafka.start
                self._starts = first_offsets(hub.client, self._held, kafka, start)
                self._topic_id = topic_id(kafka)
            except UserError:
                hub.close()
                raise
            self._hub, self._watch = hub, Watch(kafka, len(self._held))
        return self._hub, self._watch

    def closed(self, partition: TopicPartition) -> None:
        """Hear that a partition has ended."""
        self._open.discard(partition)
        if not self._open:
            self.close()

    def close(self) -> None:
        """Let go of the broker."""
        if self._hub is not None and self._watch is not None:
            self._hub.close()
            self._watch.close()
            self._hub = None

    def finish(self) -> None:
        """After the flow has ended in peace: show the group how far its last snapshots go."""
        if not self.covered:
            return
        kafka = self.settings.kafka
        try:
            client = consumer(kafka, group_id=kafka.group, bootstrap_timeout_ms=ANSWER_MS)
            with closing(client), in_words(kafka):
                commit(client, self.covered)
        except UserError as error:
            _log.warning("the offsets of group %s stay behind: %s", kafka.group, error)
