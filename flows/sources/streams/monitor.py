"""A thread that monitors the streams: whether Redis answers, where they end; it also trims them.

Entries are kept until a snapshot and its backup have them: a run whose recovery folder is damaged
resumes from the backup and reads from there again.
"""

from __future__ import annotations

import logging
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from flows.sources.live_monitor import LiveMonitor
from flows.sources.streams.offsets import entry_id_of, offset_at, offset_of
from state import keys
from state.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafka import TopicPartition

    from state.store import Store

TRIM_INTERVAL_S = 10.0
KEPT_CHECKPOINTS = 2
"""Entries that snapshots have are kept for so many intervals of backups (`recovery.checkpoint_s`)."""

_log = logging.getLogger("penstock.streams")


class StreamMonitor(LiveMonitor):
    """Monitors some streams. `counts_read` is what the consumer has read of each since the start.

    Entries before a scheduled offset are trimmed once their backup is made.
    """

    def __init__(
        self, store: Store, counts_read: Mapping[TopicPartition, int], checkpoint_s: float
    ) -> None:
        super().__init__("streams-watch", _log)
        self._store = store
        self._counts_read = counts_read
        self._kept_ms = round(KEPT_CHECKPOINTS * checkpoint_s * 1000)
        self._read_before: dict[TopicPartition, int] = {}
        self._trimmed: dict[TopicPartition, int] = {}
        self._lengths: dict[TopicPartition, int] = {}
        self._trim_at_s = time.monotonic() + TRIM_INTERVAL_S

    def lag(self, partition: TopicPartition, offset: int) -> int | None:
        """The number of entries from an offset on; None before the first check."""
        end = self.ends.get(partition)
        if end is None:
            return None
        if end[0] <= offset:
            return 0
        still_there = self._read_before[partition] - self._trimmed[partition]
        return max(1, self._lengths[partition] - still_there - self._counts_read[partition])

    def start_at(self, partition: TopicPartition, offset: int) -> None:
        """Count the entries before the offset at which the flow starts. Raises StoreError."""
        key, client = keys.events_key(partition.partition), self._store.client
        with self._store.errors_as_user_errors():
            self._read_before[partition] = client.xlen(key) - _count_from(client, key, offset)
        self._trimmed[partition] = 0

    def close(self) -> None:
        """Stop the thread."""
        super().close()
        self._store.close()

    def _connected(self) -> nullcontext[Store]:
        return nullcontext(self._store)

    def _check(self, client: Store) -> None:
        try:
            with client.errors_as_user_errors():
                self._read_ends()
                if time.monotonic() >= self._trim_at_s:
                    self._trim_at_s = time.monotonic() + TRIM_INTERVAL_S
                    self._trim()
        except StoreError as error:
            client.client.close()
            self._on_silence(f"the streams cannot be read ({error}): waiting")
        else:
            self._on_response("the streams can be read again")

    def _read_ends(self) -> None:
        client = self._store.client
        for partition in self._partitions:
            asked_s = time.monotonic()
            key = keys.events_key(partition.partition)
            self._lengths[partition] = client.xlen(key)
            newest = client.xrevrange(key, count=1)
            self.ends[partition] = (offset_of(newest[0][0]) + 1 if newest else 0), asked_s

    def _trim(self) -> None:
        with self._lock:
            scheduled = dict(self._scheduled)
        oldest_kept = offset_at(time.time_ns() // 1_000_000 - self._kept_ms)
        for partition, offset in scheduled.items():
            first_kept = entry_id_of(min(offset, oldest_kept))
            key = keys.events_key(partition.partition)
            self._trimmed[partition] += self._store.client.xtrim(
                key, minid=first_kept, approximate=False
            )


def _count_from(client: Any, key: str, offset: int) -> int:
    """The number of entries from an offset on. Redis cannot count them: they are read in parts."""
    count = 0
    while entries := client.xrange(key, min=entry_id_of(offset), count=_PART):
        count += len(entries)
        offset = offset_of(entries[-1][0]) + 1
        if len(entries) < _PART:
            break
    return count


_PART = 2000
