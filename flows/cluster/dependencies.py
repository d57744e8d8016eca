"""What a live run waits for: a Redis that holds what is stored, a broker that answers."""

from __future__ import annotations

import logging
import time
from contextlib import closing
from typing import TYPE_CHECKING

from flows.kafka.client import NoAnswerError
from flows.observability import metrics
from flows.process import liveness
from flows.recovery.redis_rebuild import make_whole
from state.errors import UserError
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from threading import Event as Flag

    from flows.kafka.source import KafkaSource
    from flows.recovery.folder import Stored
    from state.config import Settings
    from state.store import Fence

_PAUSE_S = 1.0
_log = logging.getLogger("penstock.kafka")


class _StoppedError(Exception):
    """Asked to stop while waiting."""


def connect(
    redis_url: str,
    settings: Settings,
    fence: Fence | None = None,
    waiting: Callable[[], None] = metrics.redis_waits,
) -> Store:
    """The Redis of a live run; `fence` is what is written under. Who waits for it is not stuck."""
    return Store(
        redis_url,
        timeout_ms=settings.redis.timeout_ms,
        patience_s=settings.redis.patience_s,
        replicas=settings.redis.replicas,
        fence=fence,
        waiting=waiting,
    )


def redis_answers(redis_url: str, settings: Settings, stop: Flag) -> bool:
    """Wait until Redis takes writes; False: `stop` came first.

    Raises UserError where waiting is no use, or was no use for `redis.patience_s`.
    """
    try:
        with closing(connect(redis_url, settings, None, _waiting(stop))) as store:
            store.wait()
    except _StoppedError:
        return False
    metrics.REDIS_AWAY.set(0)
    return True


def redis_is_whole(
    redis_url: str,
    settings: Settings,
    stop: Flag,
    folder: Path | None,
    stored: Stored | None,
    fence: Fence,
) -> bool:
    """Tell Redis what is stored if it does not hold it; False: `stop` came first.

    Only where no flow has the folder open. Raises UserError as `redis_answers` does.
    """
    if folder is None or stored is None:
        return True

    def going_on() -> None:
        _go_on(stop)

    try:
        while True:
            with closing(connect(redis_url, settings, fence, _waiting(stop))) as store:
                try:
                    make_whole(store, settings, folder, stored.journals, going_on)
                except UserError:
                    if _is_there(store):
                        raise
                else:
                    break
                store.wait()
    except _StoppedError:
        return False
    metrics.REDIS_AWAY.set(0)
    return True


def _waiting(stop: Flag) -> Callable[[], None]:
    def waiting() -> None:
        metrics.REDIS_AWAY.set(1)
        _go_on(stop)

    return waiting


def _go_on(stop: Flag) -> None:
    liveness.beat(has_begun=False)
    if stop.is_set():
        raise _StoppedError


def _is_there(store: Store) -> bool:
    try:
        store.check()
    except UserError:
        return False
    return True


def kafka_answers(source: KafkaSource, stop: Flag) -> bool:
    """Wait for the broker as long as for Redis; False: `stop` came first. Raises UserError."""
    until_s = time.monotonic() + source.settings.redis.patience_s
    is_said = False
    while not stop.is_set():
        try:
            source.list_parts()
        except NoAnswerError as error:
            if time.monotonic() > until_s:
                raise
            if not is_said:
                _log.warning("%s; waiting", error)
                is_said = True
            liveness.beat(has_begun=False)
            stop.wait(_PAUSE_S)
        else:
            return True
    return False
