"""What the server answers, by address. Everything but the login only reads."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from prometheus_client.exposition import choose_encoder
from sse_starlette import EventSourceResponse
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import (
    FileResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from serving.dashboard import access as access_
from serving.dashboard import metrics
from serving.dashboard.access import Access, Guard
from serving.dashboard.connections import Bounded, Places
from serving.dashboard.export import rows
from serving.dashboard.history import SPANS, history
from serving.dashboard.hub import Hub
from serving.dashboard.redis_values import pairs
from serving.dashboard.segment import MEMBERS, OneSegment, described
from serving.dashboard.shop import Shop
from serving.dashboard.shopper import OneShopper
from state import keys
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from serving.dashboard.hub import Looks
    from serving.dashboard.shopper import Explainer
    from state.store import Reads

STATIC = Path(__file__).parents[1] / "static"
WORD_CHARS_MAX = 256
PLACE_DIGITS = 9
REQUESTS_MAX = 4
"""Requests that Redis works on at once, besides the turns and exports."""
EXPORTS_MAX = 4
REQUESTS_AT_ONCE_MAX = 100
"""Besides the open tabs; most of them wait for their turn at Redis."""
SEND_S_MAX = 30.0
"""A tab that takes nothing for so long is gone."""


class Page:
    """The answers. One hub for all tabs; `unasked` as in `serving.consent`."""

    def __init__(
        self,
        reads: Reads,
        explainer: Explainer,
        access: Access,
        *,
        tabs_max: int,
        unasked: str,
    ) -> None:
        self._reads = reads
        self._explainer = explainer
        self._access = access
        self._unasked = unasked
        self._asked = asyncio.Semaphore(REQUESTS_MAX)
        self._tabs = Places(tabs_max)
        self._exports = Places(EXPORTS_MAX)
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

    async def metrics(self, request: Request) -> Response:
        """For Prometheus."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        metrics.TABS.set(self._tabs.taken)
        metrics.EXPORTS.set(self._exports.taken)
        return Response(encode(metrics.REGISTRY), media_type=content_type)

    async def hello(self, request: Request) -> Response:
        """Whether a stream would be answered, and why not: an event stream cannot tell."""
        return self._full() or PlainTextResponse("ok\n")

    async def stream(self, request: Request) -> ASGIApp:
        """A snapshot, then changes, for one tab."""
        if full := self._full():
            return full
        name, looks = self._room(request)

        async def messages() -> AsyncIterator[bytes]:
            async with self.hub.tab(name, looks) as tab:
                async for message in tab.messages():
                    yield message

        return self._tabs.held_by(EventSourceResponse(messages(), ping=0, send_timeout=SEND_S_MAX))

    async def history(self, request: Request) -> Response:
        """Figures over time of the shop, or of a segment."""
        span = SPANS.get(_word(request, "span"))
        if span is None:
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"span is one of {', '.join(SPANS)}")
        async with self._asked:
            return _Json(await history(self._reads, _word(request, "segment"), span))

    async def members(self, request: Request) -> Response:
        """A page of members, the newest first, from a place on."""
        sid, place = _word(request, "segment"), _word(request, "from")
        if not (sid and place.isascii() and place.isdigit() and len(place) < PLACE_DIGITS):
            raise HTTPException(
                HTTPStatus.BAD_REQUEST, "expected a segment and a place to begin from"
            )
        first = int(place)
        async with self._asked:
            flat = await self._reads.one(
                "ZREVRANGE", keys.members_key(sid), first, first + MEMBERS - 1, "WITHSCORES"
            )
            return _Json(await described(self._reads, pairs(flat)))

    async def export(self, request: Request) -> ASGIApp:
        """All members as CSV."""
        sid = _word(request, "segment")
        if not sid:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "expected a segment")
        if not await self._reads.one("HEXISTS", keys.registry_key(), sid):
            raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no segment {sid!r}")
        if self._exports.is_full:
            busy = f"{EXPORTS_MAX} exports are running: try again when one is done"
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, busy)
        name = re.sub(r"[^\w.-]+", "-", sid, flags=re.ASCII)
        how = {
            "content-disposition": f'attachment; filename="{name}.csv"',
            "cache-control": "no-store",
        }
        answer = StreamingResponse(
            rows(self._reads, sid, self._unasked), media_type="text/csv; charset=utf-8", headers=how
        )
        return self._exports.held_by(answer)

    def _room(self, request: Request) -> tuple[str, Callable[[], Looks] | None]:
        """What a tab looks at besides the shop."""
        if sid := _word(request, "segment"):
            return f"segment {sid}", lambda: OneSegment(self._reads, sid)
        if shopper := _word(request, "shopper"):
            return f"shopper {shopper}", lambda: OneShopper(self._reads, self._explainer, shopper)
        return "", None

    def _full(self) -> Response | None:
        if not self._tabs.is_full:
            return None
        return PlainTextResponse(
            f"{self._tabs.most} pages are open: close one, or raise serving.tabs_max\n",
            HTTPStatus.SERVICE_UNAVAILABLE,
        )


def app(
    reads: Reads, explainer: Explainer, access: Access, *, tabs_max: int, unasked: str
) -> tuple[Starlette, Hub]:
    """The application and its hub, which ends the streams when the server stops."""
    page = Page(reads, explainer, access, tabs_max=tabs_max, unasked=unasked)

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        async with page.hub.running():
            yield
        await reads.close()
        explainer.close()

    routes = [
        Route("/", page.index),
        Route("/login", page.login, methods=["GET", "POST"]),
        Route("/healthz", page.health),
        Route("/metrics", page.metrics),
        Route("/api/hello", page.hello),
        Route("/api/stream", page.stream),
        Route("/api/history", page.history),
        Route("/api/members", page.members),
        Route("/api/export", page.export),
        Mount("/static", GZipMiddleware(_Files(directory=STATIC))),
    ]
    starlette = Starlette(
        routes=routes,
        lifespan=lifespan,
        exception_handlers={HTTPException: _refused, UserError: _no_answer},
    )
    starlette.add_middleware(Guard, access=access)
    starlette.add_middleware(Bounded, most=tabs_max + REQUESTS_AT_ONCE_MAX)
    return starlette, page.hub


def _word(request: Request, name: str) -> str:
    """A word of the address, "" where it is absent."""
    found = request.query_params.get(name, "")
    if len(found) > WORD_CHARS_MAX:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name} is longer than {WORD_CHARS_MAX}")
    return found


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code, error.headers)


async def _no_answer(request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", HTTPStatus.SERVICE_UNAVAILABLE)


class _Json(Response):
    """A value as JSON, not to be kept."""

    media_type = "application/json"

    def __init__(self, value: object) -> None:
        super().__init__(msgspec.json.encode(value), headers={"cache-control": "no-store"})


class _Files(StaticFiles):
    """Files a browser asks about each time: a new release is there at once."""

    def file_response(self, *args: object, **more: object) -> Response:
        answer = super().file_response(*args, **more)  # type: ignore[arg-type]
        answer.headers["cache-control"] = "no-cache"
        return answer
