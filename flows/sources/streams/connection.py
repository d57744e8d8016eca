"""The connection of a process to the event streams: a consumer, a monitor, the offsets at its start."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from kafka import TopicPartition

from flows.sources.streams.consumer import StreamConsumer
from flows.sources.streams.monitor import StreamMonitor
from flows.sources.streams.offsets import offset_of
from state import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from state.config import Settings
    from state.snapshots import SourceState
    from state.store import Store

TOPIC = "redis-events"
"""Part of the stored names of the partitions."""
RECORD_FORMAT = "penstock"
"""The collector writes events in our own form, whatever form they came in."""

_log = logging.getLogger("penstock.streams")


class StreamsConnection:
    """An open connection to the streams of `collector.partitions`, and to those that a snapshot has.

    Raises StoreError where Redis does not answer.
    """

    topic_id = ""
    record_format = RECORD_FORMAT

    def __init__(
        self, settings: Settings, connect: Callable[[], Store], known_partitions: Collection[str]
    ) -> None:
        numbers = {*range(settings.collector.partitions), *map(_number_in, known_partitions)}
        self.partitions = [TopicPartition(TOPIC, number) for number in sorted(numbers)]
        self.idle_ms = settings.kafka.idle_ms
        self.is_open = True
        self._store = connect()
        self.consumer = StreamConsumer(self._store, settings.source.batch_events)
        self.monitor = StreamMonitor(
            connect(), self.consumer.counts_read, settings.recovery.checkpoint_s
        )
        self._ends = self._read_ends()

    def first_offset(self, partition: TopicPartition) -> int:
        """A stream without a snapshot is read from its first entry."""
        self.monitor.start_at(partition, 0)
        return 0

    def resume_offset(self, partition: TopicPartition, state: SourceState) -> int:
        """The offset at which to resume.

        A stream whose newest entry is older than that was lost and began anew: it is read from its
        beginning, since its entries were never read.
        """
        offset = state.offset
        newest = self._ends[partition]
        if newest is not None and newest + 1 < offset:
            _log.warning(
                "%s was lost and began anew: it is read from its beginning",
                keys.events_key(partition.partition),
            )
            offset = 0
        self.monitor.start_at(partition, offset)
        return offset

    def close(self) -> None:
        """Close the connections. The monitor keeps its last results."""
        if self.is_open:
            self.is_open = False
            self.consumer.close()
            self.monitor.close()

    def _read_ends(self) -> dict[TopicPartition, int | None]:
        """The offset of the newest entry of each stream, None for an empty one."""
        ends: dict[TopicPartition, int | None] = {}
        with self._store.errors_as_user_errors():
            for partition in self.partitions:
                key = keys.events_key(partition.partition)
                newest = self._store.client.xrevrange(key, count=1)
                ends[partition] = offset_of(newest[0][0]) if newest else None
        return ends


def _number_in(name: str) -> int:
    """The number of a partition in its stored name."""
    return int(name.partition("-")[0])
