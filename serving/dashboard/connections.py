"""Limits the number of connections and requests, and the time in which a request must arrive.

Independent of what is requested. `/healthz` is always answered: a client that opens connections without
sending a request takes no slot from others.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

import h11
from starlette.responses import PlainTextResponse
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

REQUEST_S_MAX = 10.0
"""A request that is not complete after so long is dropped: nobody types one by hand."""
HEALTH_PATH = "/healthz"
_ARRIVED = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)


def limited_protocol(
    connections_max: int, request_s_max: float = REQUEST_S_MAX
) -> type[H11Protocol]:
    """Return a protocol for uvicorn that limits connections.

    Above `connections_max` the oldest connection without a request is closed; if all have sent one, the
    new connection is closed.
    """
    idle: dict[H11Protocol, asyncio.TimerHandle] = {}  # oldest first

    class LimitedProtocol(H11Protocol):
        """One connection."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > connections_max:
                oldest = next(iter(idle), self)
                oldest.transport.abort()
            self._start_timer()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state in _ARRIVED:
                self._cancel_timer()
            elif self not in idle:
                self._start_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._cancel_timer()
            super().connection_lost(exc)

        def _start_timer(self) -> None:
            idle[self] = self.loop.call_later(request_s_max, self.transport.close)

        def _cancel_timer(self) -> None:
            if (timer := idle.pop(self, None)) is not None:
                timer.cancel()

    return LimitedProtocol


class Slots:
    """A number of slots: one is taken before a response begins and released however it ends."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0

    @property
    def is_full(self) -> bool:
        """Whether all slots are in use."""
        return self.in_use >= self.limit

    def hold_during(self, response: ASGIApp) -> ASGIApp:
        """Take a slot now; return the response, which releases it when it was sent or failed."""
        self.in_use += 1
        return _SlotHolder(response, self._release)

    def _release(self) -> None:
        self.in_use -= 1


class _SlotHolder:
    def __init__(self, response: ASGIApp, release: Callable[[], None]) -> None:
        self._response = response
        self._release = release

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._response(scope, receive, send)
        finally:
            self._release()


class RequestLimiter:
    """Middleware that processes at most `limit` requests at once; `/healthz` is always answered."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._slots = Slots(limit)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it if too many are in progress."""
        if scope["type"] != "http" or scope["path"] == HEALTH_PATH:
            await self._app(scope, receive, send)
        elif self._slots.is_full:
            busy = PlainTextResponse(
                "too many requests at once: try again\n",
                HTTPStatus.SERVICE_UNAVAILABLE,
                {"retry-after": "1"},
            )
            await busy(scope, receive, send)
        else:
            await self._slots.hold_during(self._app)(scope, receive, send)
