"""What the server answers, by address. Everything but the login only reads."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from serving.dashboard import access as access_
from serving.dashboard.access import Access, Guard
from serving.dashboard.hub import Hub
from serving.dashboard.shop import Shop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

    from state.store import Reads

STATIC = Path(__file__).parents[1] / "static"
SEND_S_MAX = 30.0
"""A tab that takes nothing for so long is gone."""


class Page:
    """The answers. One hub for all tabs."""

    def __init__(self, reads: Reads, access: Access, *, tabs_max: int) -> None:
        self._access = access
        self._tabs_max = tabs_max
        self.hub = Hub(Shop(reads))
        self._login = (STATIC / "login.html").read_text()

    async def index(self, request: Request) -> Response:
        """The page itself."""
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    async def login(self, request: Request) -> Response:
        """The login form, and what it sends."""
        if request.method == "POST":
            return await access_.log_in(request, self._access, self._login, time.time())
        if not self._access.needs_login:
            return RedirectResponse("./", HTTPStatus.SEE_OTHER)
        return Response(self._login, media_type="text/html", headers={"cache-control": "no-store"})

    async def health(self, request: Request) -> Response:
        """Whether the server is there."""
        return PlainTextResponse("ok\n")

    async def hello(self, request: Request) -> Response:
        """Whether a stream would be answered, and why not: an event stream cannot tell."""
        return self._full() or PlainTextResponse("ok\n")

    async def stream(self, request: Request) -> Response:
        """A snapshot, then changes, for one tab."""
        if full := self._full():
            return full

        async def messages() -> AsyncIterator[bytes]:
            async with self.hub.tab() as tab:
                async for message in tab.messages():
                    yield message

        return EventSourceResponse(messages(), ping=0, send_timeout=SEND_S_MAX)

    def _full(self) -> Response | None:
        if self.hub.tabs < self._tabs_max:
            return None
        return PlainTextResponse(
            f"{self._tabs_max} pages are open: close one, or raise serving.tabs_max\n",
            HTTPStatus.SERVICE_UNAVAILABLE,
        )


def app(reads: Reads, access: Access, *, tabs_max: int) -> tuple[Starlette, Hub]:
    """The application and its hub, which ends the streams when the server stops."""
    page = Page(reads, access, tabs_max=tabs_max)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with page.hub.running():
            yield
        await reads.close()

    routes = [
        Route("/", page.index),
        Route("/login", page.login, methods=["GET", "POST"]),
        Route("/healthz", page.health),
        Route("/api/hello", page.hello),
        Route("/api/stream", page.stream),
        Mount("/static", GZipMiddleware(_Files(directory=STATIC))),
    ]
    starlette = Starlette(routes=routes, lifespan=lifespan)
    starlette.add_middleware(Guard, access=access)
    return starlette, page.hub


class _Files(StaticFiles):
    """Files a browser asks about each time: a new release is there at once."""

    def file_response(self, *args: object, **more: object) -> Response:
        answer = super().file_response(*args, **more)  # type: ignore[arg-type]
        answer.headers["cache-control"] = "no-cache"
        return answer
