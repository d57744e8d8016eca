"""The events topic as a Bytewax source: a Kafka partition is a source partition.

The snapshot has the offset of the next record, so the flow resumes exactly where it stopped; it
ignores the committed offsets of the group.
"""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING

from bytewax.inputs import FixedPartitionedSource

from flows.kafka.broker_monitor import RESPONSE_TIMEOUT_MS, commit_offsets
from flows.kafka.client import (
    create_consumer,
    errors_as_user_errors,
    parse_partition_name,
    partition_name,
)
from flows.kafka.connection import TopicConnection
from flows.kafka.partition import KafkaPartition
from operators.events.currencies import CurrencyConverter
from state.errors import SourceError
from state.messages import SourceBatch
from state.snapshots import SOURCE_CODEC, SourceState

if TYPE_CHECKING:
    from collections.abc import Collection
    from threading import Event as Flag

    from kafka import TopicPartition

    from state.config import Settings

_log = logging.getLogger("penstock.kafka")


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
        self.converter = CurrencyConverter(settings.money)
        self.known_partitions = known_partitions
        self.next_offsets: dict[TopicPartition, int] = {}
        self.snapshot_offsets: dict[TopicPartition, int] = {}
        self._stop = stop
        self._is_reader = is_reader
        self._connection: TopicConnection | None = None
        self._open_partitions: set[TopicPartition] = set()
        self._is_stop_requested = False

    def request_stop(self) -> None:
        """End every partition between two batches, so that the run starts again. For any thread."""
        self._is_stop_requested = True

    @property
    def is_stopping(self) -> bool:
        """Whether to stop now: on request, or because the topic has new partitions."""
        return self._stop.is_set() or self._is_stop_requested or self.has_more_partitions

    @property
    def has_more_partitions(self) -> bool:
        """Whether the topic has new partitions since the connection was made."""
        return self._connection is not None and self._connection.monitor.has_more_partitions

    @property
    def is_reachable(self) -> bool:
        """Whether the broker answered the last check, which happens every second."""
        return self._connection is None or self._connection.monitor.is_reachable

    @property
    def lag(self) -> dict[str, int]:
        """The number of unread records by partition name."""
        if self._connection is None:
            return {}
        ends = self._connection.monitor.ends
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
        names = [partition_name(partition) for partition in self._connect().partitions]
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
        connection = self._connect()
        partition = parse_partition_name(for_part)
        if resume_state is None:
            state = SourceState(offset=connection.first_offset(partition))
        else:
            state = SOURCE_CODEC.decode(resume_state)
        state.offset = connection.resume_offset(partition, state)
        state.topic_id = connection.topic_id
        self.next_offsets[partition] = state.offset
        self._open_partitions.add(partition)
        return KafkaPartition(self, connection, partition, state)

    def _connect(self) -> TopicConnection:
        if self._connection is None or not self._connection.is_open:
            # A partition that was added since the last run is read from its beginning.
            start = "earliest" if self.known_partitions else self.settings.kafka.start
            self._connection = TopicConnection(self.settings, start)
        return self._connection

    def on_partition_closed(self, partition: TopicPartition) -> None:
        """Note that a partition has ended, and close the connection after the last one."""
        self._open_partitions.discard(partition)
        if not self._open_partitions:
            self.close()

    def close(self) -> None:
        """Close the connections to the broker."""
        if self._connection is not None:
            self._connection.close()

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
