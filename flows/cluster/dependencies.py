"""Waits for the services that a live run needs: a Redis with current content, a broker that answers."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING

from flows.kafka.client import BrokerUnreachableError
from flows.observability import metrics
from flows.process import liveness
from flows.recovery.redis_rebuild import rebuild_if_stale
from state.errors import StoreError
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from threading import Event as Flag

    from flows.kafka.source import KafkaSource
    from flows.recovery.folder import RecoveryStore
    from state.config import Settings
    from state.store import Fence

_RETRY_PAUSE_S = 1.0
_log = logging.getLogger("penstock.kafka")


class _StopRequestedError(Exception):
    """The run was asked to stop while it waited."""


def connect(
    redis_url: str,
    settings: Settings,
    fence: Fence | None = None,
    on_retry: Callable[[], None] = metrics.record_redis_wait,
) -> Store:
    """A store for a live run that writes under `fence`. `on_retry` is called while Redis is away."""
    return Store(
        redis_url,
        timeout_ms=settings.redis.timeout_ms,
        patience_s=settings.redis.patience_s,
        replicas=settings.redis.replicas,
        fence=fence,
        on_retry=on_retry,
    )


def wait_for_redis(redis_url: str, settings: Settings, stop: Flag) -> bool:
    """Wait until Redis accepts writes. Returns False if `stop` was set first.

    Raises UserError for an error that waiting cannot fix, and after `redis.patience_s`.
    """
    try:
        with closing(connect(redis_url, settings, None, _stop_check_for(stop))) as store:
            store.wait_until_ready()
    except _StopRequestedError:
        return False
    metrics.REDIS_AWAY.set(0)
    return True


def ensure_redis_current(
    redis_url: str,
    settings: Settings,
    stop: Flag,
    folder: Path | None,
    recovery_store: RecoveryStore | None,
    fence: Fence,
) -> bool:
    """Rebuild Redis from the stored state if it is not current. Returns False if `stop` was set
    first.

    Call it only while no flow has the folder open. Raises UserError as `wait_for_redis` does.
    """
    if folder is None or recovery_store is None:
        return True

    def check_stop() -> None:
        _raise_if_stopped(stop)

    try:
        while True:
            with closing(connect(redis_url, settings, fence, _stop_check_for(stop))) as store:
                try:
                    rebuild_if_stale(store, settings, folder, recovery_store.journals, check_stop)
                except StoreError:
                    if _is_reachable(store):
                        raise
                else:
                    break
                store.wait_until_ready()
    except _StopRequestedError:
        return False
    metrics.REDIS_AWAY.set(0)
    return True


def _stop_check_for(stop: Flag) -> Callable[[], None]:
    def on_retry() -> None:
        metrics.REDIS_AWAY.set(1)
        _raise_if_stopped(stop)

    return on_retry


def _raise_if_stopped(stop: Flag) -> None:
    liveness.mark_progress(has_started=False)
    if stop.is_set():
        raise _StopRequestedError


def _is_reachable(store: Store) -> bool:
    try:
        store.check()
    except StoreError:
        return False
    return True


def wait_for_kafka(source: KafkaSource, stop: Flag) -> bool:
    """Wait for the broker, up to `redis.patience_s`. Returns False if `stop` was set first.

    Raises UserError.
    """
    deadline_s = time.monotonic() + source.settings.redis.patience_s
    is_logged = False
    while not stop.is_set():
        try:
            source.list_parts()
        except BrokerUnreachableError as error:
            if time.monotonic() > deadline_s:
                raise
            if not is_logged:
                _log.warning("%s; waiting", error)
                is_logged = True
            liveness.mark_progress(has_started=False)
            stop.wait(_RETRY_PAUSE_S)
        else:
            return True
    return False
