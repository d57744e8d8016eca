"""The HTTP server of a process: `/metrics`, `/healthz` (is it alive), `/readyz` (does it serve).

A worker is alive if it made progress recently: one that waits for Redis does, one that hangs does
not. It is ready if it has resumed its state, Redis and Kafka answer, and its lag is small. A
suspended process does not answer at all, so probes need a timeout of a second or two.
"""

from __future__ import annotations

import socketserver
import threading
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, AF_INET6, gaierror
from typing import TYPE_CHECKING, Any, Protocol

import orjson
from prometheus_client.exposition import choose_encoder

from flows.observability import metrics
from flows.process import liveness
from state.errors import ConfigurationError, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client import CollectorRegistry

    from flows.observability.collectors import TopicStatus

OK = "ok"
CLIENT_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class WorkerHealth:
    """The checks of a worker. `ping_redis` raises UserError if Redis does not answer.

    `topic` is the source, `lag_max` the largest lag in records that is ready; 0 disables that check.
    """

    stuck_s: float
    ping_redis: Callable[[], None]
    topic: TopicStatus
    lag_max: int = 0

    def check_live(self) -> tuple[bool, dict[str, Any]]:
        """Whether the worker makes progress, and the fields of the response."""
        age_s = liveness.progress_age_s()
        fields = {"status": OK, "pulse_age_s": round(age_s, 3)}
        if age_s <= self.stuck_s:
            return True, fields
        reason = f"the worker has made no progress for {age_s:.0f} s (limit {self.stuck_s:g})"
        return False, fields | {"status": "stuck", "reason": reason}

    def check_ready(self) -> tuple[bool, dict[str, Any]]:
        """Whether Redis is kept fresh, and the result of each check."""
        is_alive, fields = self.check_live()
        checks = {
            "worker": OK if is_alive else fields["reason"],
            "state": OK if liveness.has_started() else "is being resumed",
            "redis": self._check_redis(),
            self.topic.log_name: OK if self.topic.is_reachable else "does not answer",
            "lag": self._check_lag(),
        }
        is_ready = set(checks.values()) == {OK}
        return is_ready, {"status": OK if is_ready else "not ready", **checks}

    def _check_redis(self) -> str:
        try:
            self.ping_redis()
        except StoreError as error:
            return str(error)
        return OK

    def _check_lag(self) -> str:
        lag = sum(self.topic.lag.values())
        if not self.lag_max or lag <= self.lag_max:
            return OK
        return f"{lag} records behind, more than metrics.ready_lag_max ({self.lag_max})"


class HealthChecks(Protocol):
    """The health checks of a process: whether it passes, and the fields of the response."""

    def check_live(self) -> tuple[bool, dict[str, Any]]:
        """For `/healthz`."""

    def check_ready(self) -> tuple[bool, dict[str, Any]]:
        """For `/readyz`."""


class _Handler(BaseHTTPRequestHandler):
    timeout = CLIENT_TIMEOUT_S

    def __init__(self, health: HealthChecks, registry: CollectorRegistry, *args: Any) -> None:
        self._health = health
        self._registry = registry
        super().__init__(*args)

    def do_GET(self) -> None:
        match self.path.partition("?")[0]:
            case "/metrics":
                encode, content_type = choose_encoder(self.headers.get("Accept", ""))
                self._respond(HTTPStatus.OK, encode(self._registry), content_type)
            case "/healthz":
                self._send_result(*self._health.check_live())
            case "/readyz":
                self._send_result(*self._health.check_ready())
            case _:
                self._respond(HTTPStatus.NOT_FOUND, b"/metrics /healthz /readyz\n", "text/plain")

    def _send_result(self, is_ok: bool, fields: dict[str, Any]) -> None:
        status = HTTPStatus.OK if is_ok else HTTPStatus.SERVICE_UNAVAILABLE
        self._respond(status, orjson.dumps(fields) + b"\n", "application/json")

    def _respond(self, status: HTTPStatus, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        """Log nothing: probes come every few seconds."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def server_bind(self) -> None:
        # The base class looks the host name up in DNS first, which may take seconds.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]


@contextmanager
def health_server(
    health: HealthChecks,
    listen: str,
    worker: int = 0,
    *,
    registry: CollectorRegistry = metrics.REGISTRY,
) -> Iterator[str]:
    """Serve on `listen` (host:port) while inside; `worker` is added to the port.

    Gives the address; with an empty `listen` serves nothing and gives "". Raises UserError.
    """
    if not listen:
        yield ""
        return
    host, port = _parse_address(listen)
    family = AF_INET6 if ":" in host else AF_INET
    server_class = type("Server", (_Server,), {"address_family": family})
    try:
        server = server_class(
            (host, port + worker if port else 0), partial(_Handler, health, registry)
        )
    except (OSError, OverflowError) as error:
        reason = error.strerror if isinstance(error, OSError | gaierror) else str(error)
        raise ConfigurationError(
            f"metrics.listen {listen}: cannot listen on port {port + worker}: {reason}: set another, "
            'or "" for none'
        ) from error
    threading.Thread(target=server.serve_forever, name="health", daemon=True).start()
    try:
        yield f"{listen.rpartition(':')[0]}:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def _parse_address(listen: str) -> tuple[str, int]:
    """Split `host:port`.

    >>> _parse_address("127.0.0.1:9464"), _parse_address("[::1]:0")
    (('127.0.0.1', 9464), ('::1', 0))
    """
    host, colon, port = listen.rpartition(":")
    if not colon or not port.isdigit():
        raise ConfigurationError(f'metrics.listen {listen}: expected host:port, or "" for none')
    return host.strip("[]"), int(port)
