"""One reader for all streams of a process, with a queue of records for each.

While Redis is away it gives no records; the monitor says so. Not safe for several threads.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from flows.sources.live_connection import IDLE_POLL_MS
from flows.sources.streams.offsets import entry_id_of, offset_of, time_of
from state import keys
from state.errors import StoreError
from state.store import ENTRY_FIELD

if TYPE_CHECKING:
    from kafka import TopicPartition

    from state.store import Store

RETRY_PAUSE_S = 0.5
"""After a failed read the next one waits so long."""
_FIELD = ENTRY_FIELD.encode()


class StreamRecord(NamedTuple):
    """An entry of a stream."""

    offset: int
    timestamp: int
    value: bytes


class StreamConsumer:
    """Reads streams from Redis; all that have no whole batch queued in one round trip."""

    def __init__(self, store: Store, batch_events: int) -> None:
        self._store = store
        self._batch_events = batch_events
        self._queues: dict[TopicPartition, deque[StreamRecord]] = {}
        self._next: dict[TopicPartition, int] = {}
        self._next_read_s = 0.0
        self.counts_read: dict[TopicPartition, int] = {}
        """How many records of each partition were read since it was assigned."""

    def assign(self, partition: TopicPartition, offset: int) -> None:
        """Read one more partition, starting with the record at `offset`."""
        self._queues[partition] = deque()
        self._next[partition] = offset
        self.counts_read[partition] = 0

    def take_records(self, partition: TopicPartition) -> list[StreamRecord]:
        """The next records of a partition, at most a batch; does not wait."""
        queue = self._queues[partition]
        if not queue and time.monotonic() >= self._next_read_s:
            self._read()
        records = list(islice(queue, self._batch_events))
        for _ in records:
            queue.popleft()
        return records

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Go on at another offset."""
        self._queues[partition].clear()
        self._next[partition] = offset

    def close(self) -> None:
        """Close the connections."""
        self._store.close()

    def _read(self) -> None:
        wanted = [one for one, queue in self._queues.items() if len(queue) < self._batch_events]
        reads = self._store.client.pipeline(transaction=False)
        for one in wanted:
            key = keys.events_key(one.partition)
            reads.xrange(key, min=entry_id_of(self._next[one]), count=self._batch_events)
        try:
            with self._store.errors_as_user_errors():
                replies = reads.execute()
        except StoreError:
            self._store.client.close()
            self._next_read_s = time.monotonic() + RETRY_PAUSE_S
            return
        for one, entries in zip(wanted, replies, strict=True):
            self._queue(one, entries)
        if not any(replies):
            self._next_read_s = time.monotonic() + IDLE_POLL_MS / 1000

    def _queue(self, partition: TopicPartition, entries: list[tuple[bytes, Any]]) -> None:
        for entry_id, fields in entries:
            offset = offset_of(entry_id)
            # An entry without our field is a record that is no event: a dead letter tells of it.
            value = (fields or {}).get(_FIELD, b"")
            self._queues[partition].append(StreamRecord(offset, time_of(offset), value))
            self._next[partition] = offset + 1
        self.counts_read[partition] += len(entries)
