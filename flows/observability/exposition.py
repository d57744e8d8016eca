"""A live process as it is seen from outside, for as long as it runs: over HTTP and in Redis."""

from __future__ import annotations

import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from flows.observability import metrics
from flows.observability.collectors import RecoveryFolderCollector, TopicCollector
from flows.observability.health import WorkerHealth, health_server
from flows.observability.heartbeat import Heartbeat, heartbeat_thread
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from prometheus_client.registry import Collector

    from flows.observability.collectors import TopicStatus
    from state.config import Settings

PROBE_TIMEOUT_MS = 1000
"""Who asks whether we are ready waits for a second or so."""


@contextmanager
def expose_process(
    settings: Settings,
    *,
    stuck_s: float,
    redis_url: str,
    topic: TopicStatus,
    recovery_folder: Path | None,
    worker: int = 0,
    workers: int = 1,
    shares_host: bool = False,
) -> Iterator[str]:
    """Metrics, health and heartbeat of one process of `workers`; gives the address, "" if none.

    Those that share a host share `metrics.listen`, each a port further on.

    Raises UserError where `metrics.listen` cannot be had.
    """
    probe_store = Store(redis_url, timeout_ms=PROBE_TIMEOUT_MS, patience_s=0)
    lock = threading.Lock()

    def ping_redis() -> None:
        with lock, probe_store.errors_as_user_errors():
            probe_store.client.ping()

    health = WorkerHealth(stuck_s, ping_redis, topic, settings.metrics.ready_lag_max)
    heartbeat_store = Store(redis_url, timeout_ms=settings.redis.timeout_ms, patience_s=0)
    with ExitStack() as exit_stack:
        exit_stack.callback(probe_store.close)
        exit_stack.callback(heartbeat_store.close)
        enter_context = exit_stack.enter_context
        collectors: list[Collector] = [TopicCollector(topic)]
        collectors += [RecoveryFolderCollector(recovery_folder)] if recovery_folder else []
        for collector in collectors:
            metrics.REGISTRY.register(collector)
            exit_stack.callback(metrics.REGISTRY.unregister, collector)
        address = enter_context(
            health_server(health, settings.metrics.listen, worker if shares_host else 0)
        )
        enter_context(heartbeat_thread(Heartbeat(heartbeat_store, topic, worker, workers)))
        yield address
