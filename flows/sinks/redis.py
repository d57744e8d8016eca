"""The sink for Redis: it writes the commands of batches in order.

Stored: the name of its partition (`redis`) and its snapshot (whether a scrub pass is due).
"""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

from bytewax.outputs import FixedPartitionedSink, StatefulSinkPartition

from flows.observability import metrics, recording
from flows.process import liveness
from flows.sinks.scrub_pass import scrub
from flows.sinks.scrubber import Scrubber
from state.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from state.messages import BatchOutput, Write
    from state.store import Store

SPLIT_ABOVE_WRITES = 1000
"""A batch with at least this many writes is sent group by group."""


class _RedisPartition(StatefulSinkPartition["BatchOutput", bool]):
    """The connection of a worker. Its snapshot: whether histories may still contain erased shoppers."""

    def __init__(
        self,
        connect: Callable[[], Store],
        *,
        is_measured: bool,
        notice_days: int,
        needs_scrub: bool,
    ) -> None:
        self._store = connect()
        self._notice_days = notice_days
        self._scrubber = Scrubber(connect, notice_days)
        self._is_clean = not needs_scrub
        self._is_measured = is_measured
        self._is_flushed = True
        self._epoch_end_s: float | None = None

    def write_batch(self, values: list[BatchOutput]) -> None:
        self._is_flushed = False
        for output in values:
            self._is_clean = self._is_clean and not output.erased_shoppers
            if self._is_measured:
                self._send_measured(output)
            else:
                self._store.send(output.writes, barrier_after=len(output.changes))

    def _send_measured(self, output: BatchOutput) -> None:
        """Send the write groups of a batch, and record when each becomes readable."""
        recording.record_output(output)
        change_writes = len(output.changes)
        received_ms = output.received_ms
        for names, writes in _write_groups(output):
            metrics.WRITES_QUEUED.inc(len(writes))
            self._store.send(
                writes,
                partial(_on_written, names, received_ms, len(writes)),
                barrier_after=change_writes,
            )
            change_writes = 0

    def snapshot(self) -> bool:
        # An epoch may only be committed when Redis has acknowledged all its writes.
        self._store.flush()
        self._is_flushed = True
        if self._is_measured and not self._is_clean:  # the notices are in Redis now
            self._scrubber.request_pass()
            self._is_clean = True
        self._scrubber.start_if_due()
        liveness.mark_progress()
        now_s = time.monotonic()
        if self._epoch_end_s is not None:
            metrics.EPOCH.observe(now_s - self._epoch_end_s)
        self._epoch_end_s = now_s
        return not (self._is_clean and self._scrubber.is_clean)

    def close(self) -> None:
        self._scrubber.stop()
        # With unacknowledged writes an error is being raised: waiting for Redis again would raise a
        # second one, which aborts the process.
        if self._is_flushed:
            if not self._is_clean:  # a replay makes one pass at its end
                with suppress(StoreError):  # the snapshot says so: the next run makes the pass
                    scrub(self._store, self._notice_days)
            self._store.close()


def _write_groups(output: BatchOutput) -> Iterator[tuple[list[str], list[Write]]]:
    """What is sent in one go, by the freshness metrics it covers: of a small batch everything, since
    splitting it costs more than the metrics gain."""
    groups = output.visible_together()
    if sum(len(writes) for _, writes in groups) < SPLIT_ABOVE_WRITES:
        yield [name for name, _ in groups], [write for _, writes in groups for write in writes]
        return
    for name, writes in groups[:-1]:
        if writes:
            yield [name], writes
    yield [groups[-1][0]], groups[-1][1]


def _on_written(names: list[str], received_ms: bytes, writes: int, seconds: float) -> None:
    metrics.WRITES_QUEUED.dec(writes)
    metrics.REDIS.observe(seconds)
    metrics.REDIS_AWAY.set(0)
    for name in names:
        recording.record_freshness(name, received_ms)


class RedisSink(FixedPartitionedSink["BatchOutput", bool]):
    """Writes the commands of batches in order; with `is_measured` it also records metrics."""

    def __init__(
        self, connect: Callable[[], Store], *, is_measured: bool = False, notice_days: int = 7
    ) -> None:
        self._connect = connect
        self._notice_days = notice_days
        self._is_measured = is_measured

    def list_parts(self) -> list[str]:
        """One partition, so that writes arrive in order."""
        return ["redis"]

    def build_part(self, step_id: str, for_part: str, resume_state: bool | None) -> _RedisPartition:
        """A partition with its own connection."""
        return _RedisPartition(
            self._connect,
            is_measured=self._is_measured,
            notice_days=self._notice_days,
            needs_scrub=bool(resume_state),
        )
