"""One consumer for all partitions that a process reads, with a queue of records for each.

A consumer for each partition would need a thread and a connection each. Not safe for several threads.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from kafka.errors import OffsetOutOfRangeError

from flows.kafka.client import (
    REQUEST_TIMEOUT_MS,
    create_consumer,
    errors_as_user_errors,
)
from flows.kafka.start_offsets import available_offsets, checked_offset
from flows.sources.live_connection import IDLE_POLL_MS, partition_name
from state.errors import SourceError

if TYPE_CHECKING:
    from kafka import TopicPartition
    from kafka.consumer.fetcher import ConsumerRecord

    from state.config_deployment import Kafka

FETCH_WAIT_MS = 3
"""How long a poll waits for the response to its own fetch, while records arrive.

A poll that does not wait returns what the previous poll fetched, a round of all partitions ago.
Then events are a round older than necessary, or every second poll returns nothing.
"""
ACTIVE_WITHIN_S = 1.0
"""The topic is active if records arrived within this time."""
QUEUED_BATCHES_MAX = 2
"""With so many batches in the queues, nothing is fetched until some are taken.

Partitions are not paused instead: kafka-python 3.0.12 may keep the fetched records of a paused
partition for ever (`Fetcher._paused_partition_records`), so its end is never read.
"""
CLOSE_TIMEOUT_MS = 1000
FETCH_BYTES_MAX = 4 * 1024 * 1024


class SharedConsumer:
    """The consumer of a process, which gives records by partition, in order."""

    def __init__(self, kafka: Kafka, batch_events: int) -> None:
        self._kafka = kafka
        self._batch_events = batch_events
        self._queues: dict[TopicPartition, deque[ConsumerRecord]] = {}
        self._queued = 0
        self._next_poll_s = 0.0
        self._last_records_s = 0.0
        self._is_behind = False
        self._served: set[TopicPartition] = set()
        self._first: TopicPartition | None = None
        self.client = create_consumer(
            kafka,
            max_partition_fetch_bytes=FETCH_BYTES_MAX,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )

    def assign(self, partition: TopicPartition, offset: int) -> None:
        """Read one more partition, starting with the record at `offset`."""
        self._queues[partition] = deque()
        self._first = min(self._queues, key=partition_name)
        with errors_as_user_errors(self._kafka):
            self.client.assign(list(self._queues))
            self.client.seek(partition, offset)

    def take_records(self, partition: TopicPartition) -> list[ConsumerRecord]:
        """The next records of a partition, at most a batch; waits at most `FETCH_WAIT_MS`."""
        queue = self._queues[partition]
        # One poll serves a round of all partitions, at its start: records of a later poll would wait a
        # round for the partitions before. During a backlog one poll cannot serve all, so each polls.
        if partition == self._first or self._is_behind or partition in self._served:
            self._served.clear()
            if len(queue) < self._batch_events:
                self._poll()
        self._served.add(partition)
        records = list(islice(queue, self._batch_events))
        for _ in records:
            queue.popleft()
        self._queued -= len(records)
        return records

    def _poll(self) -> None:
        now_s = time.monotonic()
        if now_s < self._next_poll_s or self._queued >= QUEUED_BATCHES_MAX * self._batch_events:
            return
        count = self._fetch(0)
        self._is_behind = count >= self._batch_events
        if not self._is_behind and (count or now_s - self._last_records_s < ACTIVE_WITHIN_S):
            count += self._fetch(FETCH_WAIT_MS)
        if count:
            self._last_records_s = now_s
        else:
            self._next_poll_s = now_s + IDLE_POLL_MS / 1000

    def _fetch(self, timeout_ms: int) -> int:
        """Queue fetched records and return their number."""
        try:
            with errors_as_user_errors(self._kafka):
                fetched = self.client.poll(timeout_ms=timeout_ms, max_records=self._batch_events)
        except SourceError as error:
            self._reassign(error)
            return 0
        count = 0
        for partition, records in fetched.items():
            self._queues[partition].extend(records)
            count += len(records)
        self._queued += count
        return count

    def _reassign(self, error: SourceError) -> None:
        """Seek to the offset that `kafka.out_of_range` says; raise any other error."""
        if not isinstance(error.__cause__, OffsetOutOfRangeError):
            raise error
        for partition, offset in error.__cause__.args[0].items():
            available = available_offsets(self.client, [partition], self._kafka)[partition]
            self.client.seek(partition, checked_offset(available, partition, offset, self._kafka))

    def close(self) -> None:
        """Close the connection to the broker."""
        self.client.close(timeout_ms=CLOSE_TIMEOUT_MS)
