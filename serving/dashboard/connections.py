"""How many may be connected and how long a request may take to arrive; who holds a place gives it back.

Nothing here knows what is asked. `/healthz` is answered all the while: whoever only begins a request
takes no place from others.
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
"""A request that has not arrived whole after so long is given up: nobody types one by hand."""
HEALTH_PATH = "/healthz"
_ARRIVED = (h11.DONE, h11.MUST_CLOSE, h11.CLOSED, h11.ERROR)


def limited_protocol(
    connections_max: int, request_s_max: float = REQUEST_S_MAX
) -> type[H11Protocol]:
    """A protocol for uvicorn: of too many connections, the oldest that asked nothing yet gives way.

    Beyond `connections_max` that have all asked something, new ones are closed.
    """
    idle: dict[H11Protocol, asyncio.TimerHandle] = {}  # in the order in which they began

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
    """So many at a time: taken before anything is answered, given back however the answer ends."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.in_use = 0

    @property
    def is_full(self) -> bool:
        """Whether all are taken."""
        return self.in_use >= self.limit

    def hold_during(self, response: ASGIApp) -> ASGIApp:
        """The same answer, which holds a place from now until it has been sent or broke off."""
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
    """At most so many requests are worked on at once; `/healthz` is answered whatever else goes on."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._slots = Slots(most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or that there are too many."""
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
