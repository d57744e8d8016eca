"""The HTTP server of the dashboard, which runs in the calling thread until a stop event is set."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

import uvicorn

from serving.dashboard.access import Access
from serving.dashboard.routes import REQUESTS_AT_ONCE_MAX, create_app
from serving.dashboard.shopper import Explainer
from serving.http.protocols import limited_protocol
from state.errors import ConfigurationError
from state.store import AsyncReader

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from state.config import Settings

STOP_S = 2
STREAM_BACKLOG = 128


class Server:
    """The dashboard at one address. Listens as soon as it is created. Raises ConfigurationError."""

    def __init__(self, settings: Settings, redis_url: str) -> None:
        serving = settings.serving
        host, port = parse_listen(serving.listen)
        self._access = Access(host, serving.proxy_header)
        self._tabs_max = serving.tabs_max
        self._consent_default = settings.privacy.unknown.ads
        self._reader = AsyncReader(redis_url, timeout_ms=settings.redis.timeout_ms)
        self._explainer = Explainer(redis_url, settings.redis.timeout_ms)
        self._socket = listen_at(host, port, f"serving.listen {serving.listen}")
        url_host = f"[{host}]" if ":" in host else host
        self.url = f"http://{url_host}:{self._socket.getsockname()[1]}"

    def serve(self, stop: threading.Event) -> None:
        """Serve until `stop` is set."""
        asyncio.run(self._serve(stop))

    async def _serve(self, stop: threading.Event) -> None:
        application, hub = create_app(
            self._reader,
            self._explainer,
            self._access,
            tabs_max=self._tabs_max,
            consent_default=self._consent_default,
        )
        config = uvicorn.Config(
            application,
            log_level="critical",  # `guard.Guard` logs errors
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=STOP_S,
            h11_max_incomplete_event_size=16_384,
            # Fewer half requests than `RequestLimiter` takes at once: they leave room for whole ones.
            http=limited_protocol(2 * self._tabs_max + REQUESTS_AT_ONCE_MAX),
        )
        await run_until(uvicorn.Server(config), self._socket, stop, on_stop=hub.end)


async def run_until(
    server: uvicorn.Server,
    listening: socket.socket,
    stop: threading.Event,
    *,
    on_stop: Callable[[], None] = lambda: None,
) -> None:
    """Run a server until `stop` is set; then call `on_stop` and end it. Closes the socket."""

    async def wait_for_stop() -> None:
        while not stop.is_set():
            await asyncio.sleep(0.1)
        on_stop()
        server.should_exit = True

    # The caller handles signals; the public `serve` of uvicorn would replace the handlers.
    stop_task = asyncio.create_task(wait_for_stop())
    try:
        await server._serve([listening])
    finally:
        stop_task.cancel()
        listening.close()


def parse_listen(listen: str, key: str = "serving.listen") -> tuple[str, int]:
    """Return host and port of a listen address, which `key` configures. Raises ConfigurationError.

    >>> parse_listen("127.0.0.1:8600"), parse_listen("[::1]:0")
    (('127.0.0.1', 8600), ('::1', 0))
    """
    host, colon, port = listen.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) < 65536):
        raise ConfigurationError(f"{key} {listen}: expected host:port, as in 127.0.0.1:8600")
    return host.strip("[]"), int(port)


def listen_at(host: str, port: int, named: str) -> socket.socket:
    """Listen. Raises ConfigurationError where the address is taken, or none of this machine."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # With the protocol named, asyncio sends the parts of an answer at once (TCP_NODELAY); otherwise a
    # client's delayed acknowledgement holds back the second for 40 ms.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigurationError(
            f"{named}: {error.strerror}: name another with --listen HOST:PORT"
        ) from error
    listening.listen(STREAM_BACKLOG)
    return listening
