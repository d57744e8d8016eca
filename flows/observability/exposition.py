"""What a live process exposes: metrics and health over HTTP, a heartbeat in Redis."""

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
"""Probes time out after about a second."""


@contextmanager
def expose_process(
    settings: Settings,
    redis_url: str,
    topic: TopicStatus,
    *,
    recovery_folder: Path | None = None,
    worker: int = 0,
    workers: int = 1,
    shares_host: bool = False,
) -> Iterator[str]:
    """Expose one of `workers` processes while inside; gives its HTTP address, "" if there is none.

    With `shares_host` each process uses its own port, counted from `metrics.listen`.

    Raises UserError if it cannot listen on `metrics.listen`.
    """
    probe_store = Store(redis_url, timeout_ms=PROBE_TIMEOUT_MS, patience_s=0)
    lock = threading.Lock()

    def ping_redis() -> None:
        with lock, probe_store.errors_as_user_errors():
            probe_store.client.ping()

    lag_max = settings.metrics.ready_lag_max
    health = WorkerHealth(settings.run.stuck_s, ping_redis, topic, lag_max)
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
