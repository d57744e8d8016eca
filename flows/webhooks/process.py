"""The process of `penstock hooks`: it delivers to all endpoints until a flag is set.

One such process delivers at a time, others wait as standby: a lease in Redis decides.
"""

from __future__ import annotations

import logging
import time
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from flows.cluster.leadership import exit_on_lease_loss
from flows.observability.health import OK, health_server
from flows.process import liveness
from flows.webhooks import metrics
from flows.webhooks.delivery import Delivery
from flows.webhooks.sources import ChangeSource, DeadLetterSource
from state.errors import StoreError
from state.store import Lease, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from threading import Event as Flag

    from state.config import Settings

POLL_S = 0.05
_LAG_INTERVAL_S = 1.0
_STANDBY_S = 0.5
_LEASE_SUFFIX = "-hooks"
_log = logging.getLogger("penstock.hooks")


@dataclass(frozen=True)
class DeliveryHealth:
    """Alive if the process makes progress; ready if it delivers and Redis answers."""

    stuck_s: float
    ping_redis: Callable[[], None]

    def check_live(self) -> tuple[bool, dict[str, Any]]:
        """Whether the process makes progress, and the fields of the response."""
        age_s = liveness.progress_age_s()
        is_alive = age_s <= self.stuck_s
        return is_alive, {"status": OK if is_alive else "stuck", "pulse_age_s": round(age_s, 3)}

    def check_ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether this process delivers to endpoints, and the result of each check."""
        is_alive, fields = self.check_live()
        try:
            self.ping_redis()
            redis_state = OK
        except StoreError as error:
            redis_state = str(error)
        state = OK if liveness.has_started() else "another process delivers to the endpoints"
        checks = {"worker": fields["status"], "state": state, "redis": redis_state}
        is_ready = is_alive and set(checks.values()) == {OK}
        return is_ready, {"status": OK if is_ready else "not ready", **checks}


def run_webhooks(settings: Settings, redis_url: str, stop: Flag) -> None:
    """Deliver changes to every endpoint until `stop` is set, then return when no request is running.

    Waits while Redis is away. Raises UserError for problems that a person must fix.
    """
    hooks, redis = settings.hooks, settings.redis
    with ExitStack() as exit_stack:
        enter_context = exit_stack.enter_context
        health_store = Store(redis_url, timeout_ms=1000, patience_s=0)
        exit_stack.callback(health_store.client.close)

        def ping_redis() -> None:
            with health_store.errors_as_user_errors():
                health_store.client.ping()

        enter_context(
            health_server(
                DeliveryHealth(settings.run.stuck_s, ping_redis),
                hooks.listen,
                registry=metrics.REGISTRY,
            )
        )
        store = Store(redis_url, timeout_ms=redis.timeout_ms, patience_s=0)
        exit_stack.callback(store.client.close)
        targets = [
            (endpoint_settings, ChangeSource(store, name, endpoint_settings, hooks), name)
            for name, endpoint_settings in hooks.endpoints.items()
        ]
        deliveries: list[Delivery] = []
        if not enter_context(_delivery_lease(redis_url, settings, stop)):
            return
        for endpoint, source, name in targets:
            deliveries.append(Delivery(name, endpoint, hooks, source, tries=hooks.tries))
        _deliver_until_stopped(deliveries, [source for _, source, _ in targets], stop)


def redeliver_dead(
    settings: Settings, redis_url: str, stop: Flag, names: list[str]
) -> tuple[int, int]:
    """Send the dead letters of endpoints once. Returns how many were delivered and how many failed.

    Raises UserError, also if Redis does not answer.
    """
    hooks = settings.hooks
    store = Store(redis_url, timeout_ms=settings.redis.timeout_ms, patience_s=0)
    sent = failed = 0
    for name in names:
        endpoint = hooks.endpoints[name]
        source = DeadLetterSource(store, name, endpoint.purpose)
        delivery = Delivery(name, endpoint, hooks, source, tries=1)
        while not stop.is_set() and (delivery.poll() or delivery.backlog):
            time.sleep(POLL_S)
        delivery.finish()
        sent, failed = sent + delivery.sent, failed + delivery.failed
    store.client.close()
    return sent, failed


def _deliver_until_stopped(
    deliveries: list[Delivery], sources: list[ChangeSource], stop: Flag
) -> None:
    measured_s, is_away = 0.0, False
    while not stop.is_set():
        liveness.mark_progress()
        try:
            polled = sum(delivery.poll() for delivery in deliveries)
            if time.monotonic() - measured_s > _LAG_INTERVAL_S:
                measured_s = time.monotonic()
                for delivery, source in zip(deliveries, sources, strict=True):
                    metrics.LAG.labels(delivery.name).set(source.group.lag_ms() / 1000)
                    trimmed, source.trimmed = source.trimmed, 0
                    metrics.TRIMMED.labels(delivery.name).inc(trimmed)
        except StoreError as error:
            if not is_away:
                _log.warning("%s; waiting", error, extra={"event": "redis_away"})
            is_away, polled = True, 0
        else:
            if is_away:
                _log.warning("Redis is back", extra={"event": "redis_back"})
            is_away = False
        metrics.REDIS_AWAY.set(is_away)
        if not polled:
            stop.wait(POLL_S)
    for delivery in deliveries:
        delivery.stop()
    for delivery in deliveries:
        try:
            delivery.finish()
        except StoreError as error:
            _log.warning("%s; the last messages of %s will be sent again", error, delivery.name)


@contextmanager
def _delivery_lease(redis_url: str, settings: Settings, stop: Flag) -> Iterator[bool]:
    """Wait for the lease to deliver, and hold it while inside. False if `stop` was set first."""
    name, owner = settings.kafka.group + _LEASE_SUFFIX, uuid.uuid4().hex
    lease = Lease(redis_url, name, owner, settings.run.lease_s)
    is_logged = False
    while not stop.is_set():
        try:
            lease.acquire()
            break
        except StoreError as error:
            if not is_logged:
                _log.warning("%s; waiting", error, extra={"event": "standby"})
                is_logged = True
        liveness.mark_progress(has_started=False)
        stop.wait(_STANDBY_S)
    else:
        yield False
        return
    exit_on_lease_loss(lease)
    try:
        yield True
    finally:
        lease.release()
