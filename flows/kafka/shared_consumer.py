"""One consumer for all partitions that a process reads, dealt out to queues of their own.

A consumer each would be a thread and a connection each. Not for several threads at once.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING

from kafka.errors import OffsetOutOfRangeError

from flows.kafka.client import REQUEST_MS, consumer, in_words, part_name
from flows.kafka.start_offsets import held, within
from state.errors import UserError

if TYPE_CHECKING:
    from kafka import TopicPartition
    from kafka.consumer.fetcher import ConsumerRecord

    from state.config import Kafka

POLL_MS = 5
"""How long to leave an empty consumer alone: a poll costs a tenth of a millisecond."""
NEWEST_MS = 3
"""How long to wait for the answer to the fetch that a poll sends, while events are coming.

What a poll gives at once was fetched at the last one, a round of all partitions ago, if that did not
get it itself: without waiting, events are a round older than they need to be, or every second poll
comes back with nothing.
"""
COMING_S = 1.0
"""Events are coming if the last ones came so lately."""
QUEUED_BATCHES = 2
"""With so many batches in the queues nothing more is fetched until some are taken.

Not by pausing partitions: kafka-python 3.0.12 may keep what it had fetched of one for ever
(`Fetcher._paused_partition_records`), and the end of the partition is not read.
"""
CLOSE_MS = 1000
FETCH_BYTES = 4 * 1024 * 1024


class Hub:
    """Records by partition, in order."""

    def __init__(self, kafka: Kafka, batch_events: int) -> None:
        self._kafka = kafka
        self._batch_events = batch_events
        self._queues: dict[TopicPartition, deque[ConsumerRecord]] = {}
        self._queued = 0
        self._poll_again_s = 0.0
        self._came_s = 0.0
        self._is_behind = False
        self._taken: set[TopicPartition] = set()
        self._first: TopicPartition | None = None
        self.client = consumer(
            kafka,
            max_partition_fetch_bytes=FETCH_BYTES,
            request_timeout_ms=REQUEST_MS,
        )

    def read_from(self, partition: TopicPartition, offset: int) -> None:
        """Read a further partition, beginning with the record at `offset`."""
        self._queues[partition] = deque()
        self._first = min(self._queues, key=part_name)
        with in_words(self._kafka):
            self.client.assign(list(self._queues))
            self.client.seek(partition, offset)

    def take(self, partition: TopicPartition) -> list[ConsumerRecord]:
        """What has come of a partition, at most a batch; waits `NEWEST_MS` at most."""
        queue = self._queues[partition]
        # One poll serves a round of all partitions, and begins it: what a later one fetched would wait a
        # round for the partitions before. Unless so much waits that one poll cannot serve all.
        if partition == self._first or self._is_behind or partition in self._taken:
            self._taken.clear()
            if len(queue) < self._batch_events:
                self._poll()
        self._taken.add(partition)
        taken = list(islice(queue, self._batch_events))
        for _ in taken:
            queue.popleft()
        self._queued -= len(taken)
        return taken

    def _poll(self) -> None:
        now_s = time.monotonic()
        if now_s < self._poll_again_s or self._queued >= QUEUED_BATCHES * self._batch_events:
            return
        count = self._fetched(0)
        self._is_behind = count >= self._batch_events
        if not self._is_behind and (count or now_s - self._came_s < COMING_S):
            count += self._fetched(NEWEST_MS)
        if count:
            self._came_s = now_s
        else:
            self._poll_again_s = now_s + POLL_MS / 1000

    def _fetched(self, timeout_ms: int) -> int:
        """Queue what has come, and say how much that was."""
        try:
            with in_words(self._kafka):
                arrived = self.client.poll(timeout_ms=timeout_ms, max_records=self._batch_events)
        except UserError as error:
            self._find_again(error)
            return 0
        count = 0
        for partition, records in arrived.items():
            self._queues[partition].extend(records)
            count += len(records)
        self._queued += count
        return count

    def _find_again(self, error: UserError) -> None:
        """Go on where `kafka.out_of_range` says; anything but an offset out of range goes up."""
        if not isinstance(error.__cause__, OffsetOutOfRangeError):
            raise error
        for partition, offset in error.__cause__.args[0].items():
            found = held(self.client, [partition], self._kafka)[partition]
            self.client.seek(partition, within(found, partition, offset, self._kafka))

    def close(self) -> None:
        """Let go of the broker."""
        self.client.close(timeout_ms=CLOSE_MS)
