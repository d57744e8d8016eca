"""The process: all endpoints, until a flag is set; one such process at a time tells them."""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.cluster.leadership import end_when_lost
from flows.observability.health import OK, served
from flows.process import liveness
from flows.webhooks import metrics
from flows.webhooks.delivery import Delivery
from flows.webhooks.sources import Changes, Letters
from state.errors import UserError
from state.store import Lease, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event as Flag

    from state.config import Settings

POLL_S = 0.05
_LAG_EVERY_S = 1.0
_STANDBY_S = 0.5
_LEASE = "-hooks"
_log = logging.getLogger("penstock.hooks")


@dataclass(frozen=True)
class Health:
    """Alive is a process that moves, ready one that tells endpoints and whose Redis answers."""

    stuck_s: float
    redis: Callable[[], None]

    def alive(self) -> tuple[bool, dict[str, Any]]:
        """Whether the process moves."""
        age_s = liveness.age_s()
        is_alive = age_s <= self.stuck_s
        return is_alive, {"status": OK if is_alive else "stuck", "pulse_age_s": round(age_s, 3)}

    def ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether endpoints are told, and the verdict on each part that this needs."""
        is_alive, told = self.alive()
        try:
            self.redis()
            redis = OK
        except UserError as error:
            redis = str(error)
        state = OK if liveness.has_begun() else "another process tells the endpoints"
        parts = {"worker": told["status"], "state": state, "redis": redis}
        is_ready = is_alive and set(parts.values()) == {OK}
        return is_ready, {"status": OK if is_ready else "not ready", **parts}


def run_hooks(settings: Settings, redis_url: str, stop: Flag) -> None:
    """Tell every endpoint of changes until `stop` is set, then end when no request is under way.

    Raises UserError for what a person can mend. A Redis that is away is waited for.
    """
    hooks, redis = settings.hooks, settings.redis
    with ExitStack() as until_the_end:
        enter = until_the_end.enter_context
        asked = Store(redis_url, timeout_ms=1000, patience_s=0)
        until_the_end.callback(asked.client.close)

        def answers() -> None:
            with asked.in_words():
                asked.client.ping()

        enter(
            served(Health(settings.run.stuck_s, answers), hooks.listen, registry=metrics.REGISTRY)
        )
        store = Store(redis_url, timeout_ms=redis.timeout_ms, patience_s=0)
        until_the_end.callback(store.client.close)
        told = [
            (one, Changes(store, name, one, hooks), name) for name, one in hooks.endpoints.items()
        ]
        deliveries: list[Delivery] = []
        if not enter(_tenure(redis_url, settings, stop)):
            return
        for endpoint, source, name in told:
            deliveries.append(Delivery(name, endpoint, hooks, source, tries=hooks.tries))
        _tell(deliveries, [source for _, source, _ in told], stop)


def send_again(settings: Settings, redis_url: str, stop: Flag, names: list[str]) -> tuple[int, int]:
    """Send the dead letters of endpoints once; how many were taken, and how many stay.

    Raises UserError, also where Redis does not answer.
    """
    hooks = settings.hooks
    store = Store(redis_url, timeout_ms=settings.redis.timeout_ms, patience_s=0)
    sent = failed = 0
    for name in names:
        endpoint = hooks.endpoints[name]
        letters = Letters(store, name, endpoint.purpose)
        delivery = Delivery(name, endpoint, hooks, letters, tries=1)
        while not stop.is_set() and (delivery.pump() or delivery.waiting):
            time.sleep(POLL_S)
        delivery.end()
        sent, failed = sent + delivery.sent, failed + delivery.failed
    store.client.close()
    return sent, failed


def _tell(deliveries: list[Delivery], sources: list[Changes], stop: Flag) -> None:
    looked_s, is_away = 0.0, False
    while not stop.is_set():
        liveness.beat()
        try:
            came = sum(delivery.pump() for delivery in deliveries)
            if time.monotonic() - looked_s > _LAG_EVERY_S:
                looked_s = time.monotonic()
                for delivery, source in zip(deliveries, sources, strict=True):
                    metrics.LAG.labels(delivery.name).set(source.group.behind_ms() / 1000)
                    vanished, source.vanished = source.vanished, 0
                    metrics.VANISHED.labels(delivery.name).inc(vanished)
        except UserError as error:
            if not is_away:
                _log.warning("%s; waiting", error, extra={"event": "redis_away"})
            is_away, came = True, 0
        else:
            if is_away:
                _log.warning("Redis is back", extra={"event": "redis_back"})
            is_away = False
        metrics.REDIS_AWAY.set(is_away)
        if not came:
            stop.wait(POLL_S)
    for delivery in deliveries:
        delivery.stop()
    for delivery in deliveries:
        try:
            delivery.end()
        except UserError as error:
            _log.warning("%s; what %s took last is sent again", error, delivery.name)


@contextmanager
def _tenure(redis_url: str, settings: Settings, stop: Flag) -> Iterator[bool]:
    """The right to tell the endpoints, once it is free; False: `stop` came first."""
    name, holder = settings.kafka.group + _LEASE, uuid.uuid4().hex
    lease = Lease(redis_url, name, holder, settings.run.lease_s)
    is_said = False
    while not stop.is_set():
        try:
            lease.take()
            break
        except UserError as error:
            if not is_said:
                _log.warning("%s; waiting", error, extra={"event": "standby"})
                is_said = True
        liveness.beat(has_begun=False)
        stop.wait(_STANDBY_S)
    else:
        yield False
        return
    end_when_lost(lease)
    try:
        yield True
    finally:
        lease.release()
