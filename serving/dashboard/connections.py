"""Limits the number of requests in progress, whatever is requested. `/healthz` is always answered."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Receive, Scope, Send

HEALTH_PATH = "/healthz"


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
