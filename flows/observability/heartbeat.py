"""A process's sign of life in Redis: `ps:1:worker:{n}`, gone 15 s after the last one."""

from __future__ import annotations

import os
import socket
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import orjson

from flows.observability import metrics
from flows.process.background import beside
from state import keys
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from threading import Event

    from flows.observability.collectors import Topic
    from state.store import Store

EVERY_S = 5.0
TTL_S = 15


class Heartbeat:
    """Writes the sign of life of one process of `workers`; the first of them also their common lag."""

    def __init__(self, store: Store, topic: Topic, worker: int, workers: int) -> None:
        self._store = store
        self._topic = topic
        self._worker = worker
        self._workers = workers
        self._events, self._at_s = metrics.figures()["events"], time.monotonic()

    def beat(self) -> None:
        """Write once. Raises UserError where Redis does not answer."""
        told = self._told()
        with self._store.in_words():
            client = self._store.client
            client.set(keys.worker_key(self._worker), orjson.dumps(told), ex=TTL_S)
            if self._worker == 0:
                beats = [client.get(keys.worker_key(n)) for n in range(self._workers)]
                lag = sum(orjson.loads(one)["lag"] for one in beats if one)
                client.hset(keys.meta_key(), "lag", lag)

    def end(self) -> None:
        """Take the sign away: the process ends in peace."""
        with self._store.in_words():
            self._store.client.delete(keys.worker_key(self._worker))

    def _told(self) -> dict[str, int | float | str]:
        figures, now_s = metrics.figures(), time.monotonic()
        rate = (figures["events"] - self._events) / max(now_s - self._at_s, 1e-3)
        self._events, self._at_s = figures["events"], now_s
        return {
            "at": time.time_ns() // 1_000_000,
            "pid": os.getpid(),
            "host": socket.gethostname(),
            **figures,
            "events_per_s": round(rate, 1),
            "lag": sum(self._topic.lag.values()),
            "version": keys.WRITER_VERSION,
        }


@contextmanager
def beating(heartbeat: Heartbeat) -> Iterator[None]:
    """Write signs of life from a thread while inside; that Redis is away the worker itself says."""

    def beat(over: Event) -> None:
        is_over = False
        while not is_over:
            with suppress(UserError):
                heartbeat.beat()
            is_over = over.wait(EVERY_S)
        with suppress(UserError):
            heartbeat.end()

    with beside("heartbeat", beat):
        yield
