"""A live process as it is seen from outside, for as long as it runs: over HTTP and in Redis."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from flows.observability import metrics
from flows.observability.collectors import FolderMetrics, TopicMetrics
from flows.observability.health import Health, served
from flows.observability.heartbeat import Heartbeat, beating
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.registry import Collector

    from flows.observability.collectors import Topic
    from state.config import Settings

ANSWER_MS = 1000
"""Who asks whether we are ready waits for a second or so."""


@contextmanager
def seen_from_outside(
    settings: Settings,
    *,
    stuck_s: float,
    redis_url: str,
    topic: Topic,
    recovery_folder: Path | None,
    worker: int = 0,
    workers: int = 1,
    share_a_host: bool = False,
) -> Iterator[str]:
    """Metrics, health and heartbeat of one process of `workers`; gives the address, "" if none.

    Those that share a host share `metrics.listen`, each a port further on.

    Raises UserError where `metrics.listen` cannot be had.
    """
    store = Store(redis_url, timeout_ms=ANSWER_MS, patience_s=0)
    one_at_a_time = threading.Lock()

    def redis_answers() -> None:
        with one_at_a_time, store.in_words():
            store.client.ping()

    health = Health(stuck_s, redis_answers, topic, settings.metrics.ready_lag_max)
    beats = Store(redis_url, timeout_ms=settings.redis.timeout_ms, patience_s=0)
    with ExitStack() as until_the_end:
        until_the_end.callback(store.close)
        until_the_end.callback(beats.close)
        enter = until_the_end.enter_context
        collectors: list[Collector] = [TopicMetrics(topic)]
        collectors += [FolderMetrics(recovery_folder)] if recovery_folder else []
        for collector in collectors:
            metrics.REGISTRY.register(collector)
            until_the_end.callback(metrics.REGISTRY.unregister, collector)
        address = enter(served(health, settings.metrics.listen, worker if share_a_host else 0))
        enter(beating(Heartbeat(beats, topic, worker, workers)))
        yield address
