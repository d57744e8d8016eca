"""The delivery of messages to one endpoint, with a limited number of parallel requests.

Messages of one shopper are sent in order: a message that waits for a retry holds back only later
messages of the same shopper. The threads only send requests; only the thread that calls `poll` uses
Redis.
"""

from __future__ import annotations

import logging
import os
import random
import ssl
import threading
import time
from typing import TYPE_CHECKING

from flows.webhooks import metrics
from flows.webhooks.http_client import HttpClient
from operators.publish.webhooks.delivery_queue import Backoff, OrderedDeliveryQueue
from operators.publish.webhooks.signing import parse_secrets, signature_headers
from state.errors import ConfigurationError

if TYPE_CHECKING:
    from flows.webhooks.http_client import HttpResponse
    from flows.webhooks.sources import FailedMessage, MessageSource, OutboundMessage
    from state.config_deployment import Endpoint, Hooks

MESSAGES_IN_MEMORY_MAX = 1000
"""The most messages of an endpoint in memory; the streams keep the others."""
SECRET_VARIABLE = "PENSTOCK_HOOKS_SECRET"  # noqa: S105  the name of a variable
_LOG_INTERVAL_S = 60.0
_STOP_GRACE_S = 0.5
_log = logging.getLogger("penstock.hooks")


def secrets_of(name: str) -> list[bytes]:
    """The secrets that sign an endpoint's messages: its own, else the common ones.

    Raises UserError if the environment has neither.
    """
    own = f"PENSTOCK_HOOKS_{name.upper().replace('-', '_')}_SECRET"
    variable = own if os.environ.get(own) else SECRET_VARIABLE
    secrets = parse_secrets(os.environ.get(variable, ""), variable)
    if not secrets:
        raise ConfigurationError(
            f"hooks.endpoints.{name} has no secret to sign with: set {SECRET_VARIABLE}, or {own}; "
            'make one with: echo "whsec_$(openssl rand -base64 32)"'
        )
    return secrets


class Delivery:
    """Sends the messages of a source to an endpoint. A message fails after `tries` attempts.

    Raises UserError if there is no secret.
    """

    def __init__(
        self, name: str, endpoint: Endpoint, hooks: Hooks, source: MessageSource, *, tries: int
    ) -> None:
        self.name = name
        self._source = source
        self._secrets = secrets_of(name)
        self._tries = tries
        self._timeout_s = hooks.timeout_ms / 1000
        self._backoff = Backoff(hooks.backoff_first_ms / 1000, hooks.backoff_most_s, random.random)
        self._queue: OrderedDeliveryQueue[OutboundMessage] = OrderedDeliveryQueue()
        self._changed = threading.Condition()
        self._is_stopped = False
        self._in_flight = 0
        self._delivered: list[OutboundMessage] = []
        self._failed: list[FailedMessage] = []
        self._is_failing = False
        self._logged_s = -_LOG_INTERVAL_S
        self.sent = self.failed = 0
        tls = ssl.create_default_context() if endpoint.url.startswith("https:") else None
        self._clients = [
            HttpClient(endpoint.url, self._timeout_s, tls) for _ in range(hooks.concurrency)
        ]
        for client in self._clients:
            threading.Thread(
                target=self._worker, args=(client,), name=f"hooks-{name}", daemon=True
            ).start()

    def poll(self) -> int:
        """Acknowledge finished messages and read new ones. Returns how many were read.

        Raises UserError if Redis does not answer: then call it again.
        """
        self._abort_overdue()
        with self._changed:
            delivered, failed = self._delivered[:], self._failed[:]
        if delivered or failed:
            self._source.acknowledge(delivered, failed)
            with self._changed:
                del self._delivered[: len(delivered)], self._failed[: len(failed)]
        messages: list[OutboundMessage] = []
        capacity = MESSAGES_IN_MEMORY_MAX - self.backlog
        if capacity > 0 and not self._is_stopped:
            messages = self._source.read(capacity)
            with self._changed:
                for message in messages:
                    self._queue.add(message.shopper, message, time.monotonic())
                self._changed.notify(len(messages))
        metrics.BACKLOG.labels(self.name).set(self.backlog)
        return len(messages)

    @property
    def backlog(self) -> int:
        """The number of messages in memory that are not acknowledged to the source yet."""
        with self._changed:
            return len(self._queue) + len(self._delivered) + len(self._failed)

    def stop(self) -> None:
        """Start no further request."""
        with self._changed:
            self._is_stopped = True
            self._changed.notify_all()

    def finish(self) -> None:
        """Stop, wait for the running requests, and acknowledge their messages.

        Raises UserError if Redis does not answer: then the next process sends these messages again.
        """
        self.stop()
        deadline_s = time.monotonic() + self._timeout_s + _STOP_GRACE_S
        while self._in_flight and time.monotonic() < deadline_s:
            self._abort_overdue()
            time.sleep(_STOP_GRACE_S / 50)
        self.poll()

    def _abort_overdue(self) -> None:
        for client in self._clients:
            client.abort_overdue()

    def _worker(self, client: HttpClient) -> None:
        while (message := self._next_due()) is not None:
            began_s = time.monotonic()
            signed_headers = signature_headers(
                self._secrets, message.id, int(time.time()), message.body
            )
            response = client.post(message.body, signed_headers)
            metrics.REQUEST_SECONDS.labels(self.name).observe(time.monotonic() - began_s)
            self._handle_response(message, response)
        client.close()

    def _next_due(self) -> OutboundMessage | None:
        with self._changed:
            while not self._is_stopped:
                now_s = time.monotonic()
                due = self._queue.take_due(now_s)
                if due is not None:
                    self._in_flight += 1
                    return due[1]
                self._changed.wait(self._queue.seconds_until_due(now_s))
        return None

    def _handle_response(self, message: OutboundMessage, response: HttpResponse) -> None:
        with self._changed:
            now_s = time.monotonic()
            self._in_flight -= 1
            message.tries += 1
            if response.is_success:
                self._queue.acknowledge(message.shopper, now_s)
                self._delivered.append(message)
                self.sent += 1
                metrics.SENT.labels(self.name).inc()
            elif response.is_permanent_failure or message.tries >= self._tries:
                self._queue.acknowledge(message.shopper, now_s)
                self._failed.append((message, response.description))
                self.failed += 1
                metrics.FAILED.labels(self.name).inc()
            else:
                pause_s = self._backoff.pause_s(message.tries, response.retry_after_s)
                self._queue.retry(message.shopper, now_s + pause_s)
                if response.retry_after_s:
                    self._queue.pause(now_s + pause_s)
                metrics.RETRIED.labels(self.name).inc()
            self._log_state_change(response, now_s)
            self._changed.notify()

    def _log_state_change(self, response: HttpResponse, now_s: float) -> None:
        if response.is_success:
            if self._is_failing and now_s - self._logged_s > _LOG_INTERVAL_S:
                self._is_failing = False
                _log.warning("hooks: %s accepts changes again", self.name)
            return
        if not self._is_failing or now_s - self._logged_s > _LOG_INTERVAL_S:
            self._is_failing, self._logged_s = True, now_s
            _log.warning(
                "hooks: %s %s; changes are retried or become dead letters",
                self.name,
                response.description,
                extra={"event": "hook_failed", "endpoint": self.name, "status": response.status},
            )
