"""The HTTP server of the storefront, which runs in the calling thread until a stop event is set."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import uvicorn
from prometheus_client import start_http_server

from serving.collector.grouped_log import GroupedLog
from serving.collector.intake import Intake
from serving.collector.routes import CollectorRoutes
from serving.collector.spool import open_spool
from serving.dashboard.server import listen_at, parse_listen, run_until
from serving.http import metrics
from serving.http.access import StorefrontAccess
from serving.http.protocols import HEAD_BYTES_MAX, best_protocol
from serving.http.rates import RequestRates
from serving.storefront.app import StorefrontApp, create_app
from serving.storefront.content import ContentTable
from serving.storefront.finder import Finder
from serving.storefront.reads import TimedReads
from serving.storefront.shared import SharedValues
from state import keys
from state.errors import ConfigurationError, StoreError
from state.store import AsyncPipe

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from starlette.types import ASGIApp

    from serving.collector.event_log import CollectorLog
    from serving.storefront.app import PageRoute
    from state.config import Settings
    from state.config_deployment import Storefront

STOP_S = 2
CONNECTIONS_PER_REQUEST = 4
"""Connections that browsers keep open for each request in progress."""


class StorefrontServer:
    """The server at one address. Listens as soon as it is created. Raises ConfigurationError.

    The keys are in the `environment`. `pages` are a shop's own, served beside the routes. Events go to
    `event_log`, or are answered by `collector` where there is none.
    """

    def __init__(
        self,
        settings: Settings,
        redis_url: str,
        event_log: CollectorLog | None = None,
        *,
        environment: Mapping[str, str] = os.environ,
        pages: Callable[[StorefrontAccess], Sequence[PageRoute]] = lambda access: (),
        collector: CollectorRoutes | None = None,
    ) -> None:
        storefront = settings.storefront
        host, port = parse_listen(storefront.listen, "storefront.listen")
        access = StorefrontAccess(
            host,
            storefront.origins,
            visitor_days=storefront.visitor_days,
            clock_s=time.time,
            environment=environment,
        )
        self._pipe = AsyncPipe(
            redis_url,
            timeout_ms=settings.redis.timeout_ms,
            call_timeout_s=storefront.read_timeout_ms / 1000,
        )
        application = _application(storefront, self._pipe, access)
        self._log = GroupedLog(event_log) if event_log else None
        self._intake = Intake(self._log, open_spool(settings.collector)) if self._log else None
        if self._intake is not None:
            collector = CollectorRoutes(
                self._intake, access, application.admit, _clock_ms, settings.source.limits
            )
        self._config = server_config(
            create_app(application, collector, access.origins, pages(access)),
            CONNECTIONS_PER_REQUEST * storefront.in_flight_max,
        )
        self._socket = listen_at(host, port, f"storefront.listen {storefront.listen}")
        self._metrics_listen = storefront.metrics_listen
        url_host = f"[{host}]" if ":" in host else host
        self.url = f"http://{url_host}:{self._socket.getsockname()[1]}"

    def serve(self, stop: threading.Event) -> None:
        """Serve until `stop` is set. Raises ConfigurationError where metrics cannot be served."""
        loop = self._config.get_loop_factory()
        with _metrics_endpoint(self._metrics_listen), asyncio.Runner(loop_factory=loop) as runner:
            runner.run(self._serve(stop))

    async def _serve(self, stop: threading.Event) -> None:
        drain = asyncio.create_task(self._intake.drain_while_running()) if self._intake else None
        try:
            # Connected before the first request, which has little time.
            with suppress(StoreError, TimeoutError):
                await self._pipe.call([("EXISTS", keys.meta_key())])
            await run_until(uvicorn.Server(self._config), self._socket, stop)
        finally:
            if drain is not None:
                drain.cancel()
            if self._log is not None:
                await self._log.close()
            await self._pipe.close()


def _application(
    storefront: Storefront, pipe: AsyncPipe, access: StorefrontAccess
) -> StorefrontApp:
    reads = TimedReads(pipe, time.monotonic)
    shared = SharedValues(
        2 * storefront.cards_max, storefront.shared_max_age_ms / 1000, time.monotonic
    )
    finder = Finder(
        reads,
        shared,
        _clock_ms,
        list_key=access.list_key,
        shopper_fields=storefront.shopper_fields,
    )
    return StorefrontApp(
        finder,
        reads,
        access,
        RequestRates(storefront.rate_max, time.monotonic),
        ContentTable(storefront.content_file),
        slots=storefront.slots,
        in_flight_max=storefront.in_flight_max,
    )


def server_config(application: ASGIApp, connections_max: int) -> uvicorn.Config:
    """How uvicorn serves an application: with the fastest parser and loop that are installed."""
    return uvicorn.Config(
        application,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=HEAD_BYTES_MAX,
        http=best_protocol()(connections_max),
    )


@contextmanager
def _metrics_endpoint(listen: str) -> Iterator[None]:
    """Serve /metrics at an address of its own inside the block; "" for none."""
    if not listen:
        yield
        return
    host, port = parse_listen(listen, "storefront.metrics_listen")
    try:
        server, thread = start_http_server(port, host, registry=metrics.REGISTRY)
    except OSError as error:
        raise ConfigurationError(
            f"storefront.metrics_listen {listen}: {error.strerror}: name another address"
        ) from error
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000
