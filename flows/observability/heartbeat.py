"""The heartbeat of a process in Redis: `ps:1:worker:{n}`, which expires 15 s after the last one."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import orjson

from flows.observability import recording
from flows.process.background import background_thread
from state import keys
from state.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from flows.observability.collectors import TopicStatus
    from state.store import Store

INTERVAL_S = 5.0
TTL_S = 15


class Heartbeat:
    """Writes the heartbeat of one of `workers` processes; the first one also the total lag."""

    def __init__(self, store: Store, topic: TopicStatus, worker: int, workers: int) -> None:
        self._store = store
        self._topic = topic
        self._worker = worker
        self._workers = workers
        self._events, self._at_s = recording.heartbeat_fields()["events"], time.monotonic()
        self._freshness = recording.FreshnessReport()

    def write(self) -> None:
        """Write one heartbeat. Raises UserError if Redis does not answer."""
        fields = self._fields()
        with self._store.errors_as_user_errors():
            client = self._store.client
            client.set(keys.worker_key(self._worker), orjson.dumps(fields), ex=TTL_S)
            if self._worker == 0:
                heartbeats = [client.get(keys.worker_key(n)) for n in range(self._workers)]
                lag = sum(orjson.loads(text)["lag"] for text in heartbeats if text)
                client.hset(keys.meta_key(), "lag", lag)

    def remove(self) -> None:
        """Remove the heartbeat at a clean stop."""
        with self._store.errors_as_user_errors():
            self._store.client.delete(keys.worker_key(self._worker))

    def _fields(self) -> dict[str, int | float | str]:
        counts, now_s = recording.heartbeat_fields(), time.monotonic()
        rate = (counts["events"] - self._events) / max(now_s - self._at_s, 1e-3)
        self._events, self._at_s = counts["events"], now_s
        return {
            "at": time.time_ns() // 1_000_000,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            **counts,
            "events_per_s": round(rate, 1),
            "lag": sum(self._topic.lag.values()),
            **self._freshness.take_fields(),
            "version": keys.WRITER_VERSION,
        }


@contextmanager
def heartbeat_thread(heartbeat: Heartbeat) -> Iterator[None]:
    """Write heartbeats from a background thread while inside. The worker itself logs Redis outages."""

    def run(stop: Event) -> None:
        is_stopping = False
        while not is_stopping:
            with suppress(StoreError):
                heartbeat.write()
            is_stopping = stop.wait(INTERVAL_S)
        with suppress(StoreError):
            heartbeat.remove()

    with background_thread("heartbeat", run):
        yield
