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


def impatient(connections_max: int, request_s_max: float = REQUEST_S_MAX) -> type[H11Protocol]:
    """A protocol for uvicorn: of too many connections, the oldest that asked nothing yet gives way.

    Beyond `connections_max` that have all asked something, new ones are closed.
    """
    unasked: dict[H11Protocol, asyncio.TimerHandle] = {}  # in the order in which they began

    class Impatient(H11Protocol):
        """One connection."""

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > connections_max:
                oldest = next(iter(unasked), self)
                oldest.transport.abort()
            self._wait()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self.conn.their_state in _ARRIVED:
                self._wait_no_more()
            elif self not in unasked:
                self._wait()

        def connection_lost(self, exc: Exception | None) -> None:
            self._wait_no_more()
            super().connection_lost(exc)

        def _wait(self) -> None:
            unasked[self] = self.loop.call_later(request_s_max, self.transport.close)

        def _wait_no_more(self) -> None:
            if (timer := unasked.pop(self, None)) is not None:
                timer.cancel()

    return Impatient


class Places:
    """So many at a time: taken before anything is answered, given back however the answer ends."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.taken = 0

    @property
    def is_full(self) -> bool:
        """Whether all are taken."""
        return self.taken >= self.most

    def held_by(self, answer: ASGIApp) -> ASGIApp:
        """The same answer, which holds a place from now until it has been sent or broke off."""
        self.taken += 1
        return _Holding(answer, self._give_back)

    def _give_back(self) -> None:
        self.taken -= 1


class _Holding:
    def __init__(self, answer: ASGIApp, give_back: Callable[[], None]) -> None:
        self._answer = answer
        self._give_back = give_back

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._answer(scope, receive, send)
        finally:
            self._give_back()


class Bounded:
    """At most so many requests are worked on at once; `/healthz` is answered whatever else goes on."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._places = Places(most)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or that there are too many."""
        if scope["type"] != "http" or scope["path"] == HEALTH_PATH:
            await self._app(scope, receive, send)
        elif self._places.is_full:
            busy = PlainTextResponse(
                "too many requests at once: try again\n",
                HTTPStatus.SERVICE_UNAVAILABLE,
                {"retry-after": "1"},
            )
            await busy(scope, receive, send)
        else:
            await self._places.held_by(self._app)(scope, receive, send)
