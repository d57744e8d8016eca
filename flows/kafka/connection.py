"""The connection of a process to the events topic: a consumer, a monitor, the offsets at its start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.kafka.broker_monitor import BrokerMonitor
from flows.kafka.client import partitions_of, topic_id
from flows.kafka.shared_consumer import SharedConsumer
from flows.kafka.start_offsets import (
    available_offsets,
    checked_offset,
    fallback_offset,
    first_offsets,
)
from state.errors import UserError

if TYPE_CHECKING:
    from kafka import TopicPartition

    from state.config import Settings
    from state.snapshots import SourceState


class TopicConnection:
    """An open connection. `partitions` are those of the topic when the connection was made.

    `start` is a value of `kafka.start`: where a partition without a snapshot starts. Raises UserError
    without a broker or topic.
    """

    def __init__(self, settings: Settings, start: str | int) -> None:
        self._kafka = settings.kafka
        self.record_format, self.idle_ms = settings.kafka.format, settings.kafka.idle_ms
        self.consumer = SharedConsumer(self._kafka, settings.source.batch_events)
        client = self.consumer.client
        try:
            partitions = partitions_of(client, self._kafka, self._kafka.topic)
            self._available = available_offsets(client, partitions, self._kafka)
            self._first_offsets = first_offsets(client, self._available, self._kafka, start)
            self.topic_id = topic_id(self._kafka)
        except UserError:
            self.consumer.close()
            raise
        self.monitor = BrokerMonitor(self._kafka, len(self._available))
        self.is_open = True

    @property
    def partitions(self) -> list[TopicPartition]:
        """The partitions of the topic, by number."""
        return list(self._available)

    def first_offset(self, partition: TopicPartition) -> int:
        """The offset at which a partition without a snapshot starts."""
        return self._first_offsets[partition]

    def resume_offset(self, partition: TopicPartition, state: SourceState) -> int:
        """The offset at which to resume. Raises UserError if the next record no longer exists."""
        available = self._available[partition]
        if state.topic_id and state.topic_id != self.topic_id:
            problem = f"topic {partition.topic} was deleted and recreated since this run read it"
            cause = (
                f"offset {state.offset} of partition {partition.partition} is another record now"
            )
            return fallback_offset(available, self._kafka, problem, cause)
        return checked_offset(available, partition, state.offset, self._kafka)

    def close(self) -> None:
        """Close the connection. The monitor keeps its last results."""
        if self.is_open:
            self.is_open = False
            self.consumer.close()
            self.monitor.close()
