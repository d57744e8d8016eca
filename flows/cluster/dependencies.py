"""Waits for the services that a live run needs: a Redis with current content, a broker that answers.

Each wait ends when the run is asked to stop, and counts as progress.
"""

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

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event

    from flows.cluster.run_context import RunContext
    from flows.recovery.folder import RecoveryStore
    from flows.sources.live_source import LiveSource
    from state.store import Fence, Store

_RETRY_PAUSE_S = 1.0
_log = logging.getLogger("penstock.kafka")


class _StopRequestedError(Exception):
    """The run was asked to stop while it waited."""


def wait_for_redis(context: RunContext) -> bool:
    """Wait until Redis accepts writes. Returns False if the run was asked to stop first.

    Raises UserError for an error that waiting cannot fix, and after `redis.patience_s`.
    """
    try:
        with closing(context.connect(on_retry=_stop_check_for(context.stop))) as store:
            store.wait_until_ready()
    except _StopRequestedError:
        return False
    metrics.REDIS_AWAY.set(0)
    return True


def ensure_redis_current(
    context: RunContext, recovery_store: RecoveryStore | None, fence: Fence
) -> bool:
    """Rebuild Redis from the stored state if it is not current.

    Call it only while no flow has the recovery folder open. Returns False if the run was asked to stop
    first. Raises UserError as `wait_for_redis` does.
    """
    folder = context.recovery_folder
    if folder is None or recovery_store is None:
        return True

    def check_stop() -> None:
        _raise_if_stopped(context.stop)

    journals = recovery_store.journals
    try:
        while True:
            with closing(context.connect(fence, _stop_check_for(context.stop))) as store:
                try:
                    rebuild_if_stale(store, context.settings, folder, journals, check_stop)
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


def _stop_check_for(stop: Event) -> Callable[[], None]:
    def on_retry() -> None:
        metrics.REDIS_AWAY.set(1)
        _raise_if_stopped(stop)

    return on_retry


def _raise_if_stopped(stop: Event) -> None:
    liveness.mark_progress(has_started=False)
    if stop.is_set():
        raise _StopRequestedError


def _is_reachable(store: Store) -> bool:
    try:
        store.check()
    except StoreError:
        return False
    return True


def wait_for_log(source: LiveSource, context: RunContext) -> bool:
    """Wait for the log that the run reads, up to `redis.patience_s`.

    Returns False if the run was asked to stop first. Raises UserError.
    """
    deadline_s = time.monotonic() + context.settings.redis.patience_s
    is_logged = False
    while not context.stop.is_set():
        try:
            source.list_parts()
        except BrokerUnreachableError as error:
            if time.monotonic() > deadline_s:
                raise
            if not is_logged:
                _log.warning("%s; waiting", error)
                is_logged = True
            liveness.mark_progress(has_started=False)
            context.stop.wait(_RETRY_PAUSE_S)
        else:
            return True
    return False
