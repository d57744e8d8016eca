"""The handlers of the dashboard: one method for each route. Only the login does more than read."""

from __future__ import annotations

import asyncio
import re
import time
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from prometheus_client.exposition import choose_encoder
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.responses import (
    FileResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)

from serving.dashboard import metrics
from serving.dashboard.connections import Slots
from serving.dashboard.export import csv_rows
from serving.dashboard.guard import log_in
from serving.dashboard.history import SPANS, read_history
from serving.dashboard.hub import PageHub
from serving.dashboard.redis_values import scored_members
from serving.dashboard.segment import MEMBERS, SegmentView, describe_members
from serving.dashboard.shop import ShopView
from serving.dashboard.shopper import ShopperView
from state import keys

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp

    from serving.dashboard.access import Access
    from serving.dashboard.hub import ViewReader
    from serving.dashboard.shopper import Explainer
    from state.store import AsyncReader

STATIC = Path(__file__).parents[1] / "static"
QUERY_CHARS_MAX = 256
OFFSET_DIGITS = 9
REDIS_REQUESTS_MAX = 4
"""Requests that use Redis at once, besides the ticks of the hub and the exports."""
EXPORTS_MAX = 4
SEND_TIMEOUT_S = 30.0
"""A tab that accepts no data for so long is disconnected."""


class DashboardApp:
    """The handlers of the routes. One hub for all tabs; `consent_default` as in `serving.consent`."""

    def __init__(
        self,
        reader: AsyncReader,
        explainer: Explainer,
        access: Access,
        *,
        tabs_max: int,
        consent_default: str,
    ) -> None:
        self._reader = reader
        self._explainer = explainer
        self._access = access
        self._consent_default = consent_default
        self._redis_slots = asyncio.Semaphore(REDIS_REQUESTS_MAX)
        self._tab_slots = Slots(tabs_max)
        self._export_slots = Slots(EXPORTS_MAX)
        self.hub = PageHub(ShopView(reader))
        self._login = (STATIC / "login.html").read_text()

    async def index(self, request: Request) -> Response:
        """Return the page."""
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    async def login(self, request: Request) -> Response:
        """Return the login form, or answer it."""
        if request.method == "POST":
            return await log_in(request, self._access, self._login, time.time())
        if not self._access.needs_login:
            return RedirectResponse("./", HTTPStatus.SEE_OTHER)
        return Response(self._login, media_type="text/html", headers={"cache-control": "no-store"})

    async def health(self, request: Request) -> Response:
        """Report that the server is up."""
        return PlainTextResponse("ok\n")

    async def metrics(self, request: Request) -> Response:
        """Return the metrics for Prometheus."""
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        metrics.TABS.set(self._tab_slots.in_use)
        metrics.EXPORTS.set(self._export_slots.in_use)
        return Response(encode(metrics.REGISTRY), media_type=content_type)

    async def stream_available(self, request: Request) -> Response:
        """Report whether a stream would be accepted: an event stream cannot show an error."""
        return self._full_response() or PlainTextResponse("ok\n")

    async def stream(self, request: Request) -> ASGIApp:
        """Stream a snapshot and then changes to one tab."""
        if full := self._full_response():
            return full
        name, create_view = self._channel(request)

        async def messages() -> AsyncIterator[bytes]:
            async with self.hub.subscribe(name, create_view) as tab:
                async for message in tab.messages():
                    yield message

        return self._tab_slots.hold_during(
            EventSourceResponse(messages(), ping=0, send_timeout=SEND_TIMEOUT_S)
        )

    async def history(self, request: Request) -> Response:
        """Return figures over time of the shop or of a segment."""
        span = SPANS.get(_query_parameter(request, "span"))
        if span is None:
            raise HTTPException(HTTPStatus.BAD_REQUEST, f"span is one of {', '.join(SPANS)}")
        async with self._redis_slots:
            return _Json(
                await read_history(self._reader, _query_parameter(request, "segment"), span)
            )

    async def members(self, request: Request) -> Response:
        """Return one page of members, the newest first, from an offset on."""
        sid, offset = _query_parameter(request, "segment"), _query_parameter(request, "from")
        if not (sid and offset.isascii() and offset.isdigit() and len(offset) < OFFSET_DIGITS):
            raise HTTPException(
                HTTPStatus.BAD_REQUEST, "expected a segment and a place to begin from"
            )
        first = int(offset)
        async with self._redis_slots:
            flat = await self._reader.read_one(
                "ZREVRANGE", keys.members_key(sid), first, first + MEMBERS - 1, "WITHSCORES"
            )
            return _Json(await describe_members(self._reader, scored_members(flat)))

    async def export(self, request: Request) -> ASGIApp:
        """Stream all members as CSV."""
        sid = _query_parameter(request, "segment")
        if not sid:
            raise HTTPException(HTTPStatus.BAD_REQUEST, "expected a segment")
        if not await self._reader.read_one("HEXISTS", keys.registry_key(), sid):
            raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no segment {sid!r}")
        if self._export_slots.is_full:
            busy = f"{EXPORTS_MAX} exports are running: try again when one is done"
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, busy)
        name = re.sub(r"[^\w.-]+", "-", sid, flags=re.ASCII)
        headers = {
            "content-disposition": f'attachment; filename="{name}.csv"',
            "cache-control": "no-store",
        }
        response = StreamingResponse(
            csv_rows(self._reader, sid, self._consent_default),
            media_type="text/csv; charset=utf-8",
            headers=headers,
        )
        return self._export_slots.hold_during(response)

    def _channel(self, request: Request) -> tuple[str, Callable[[], ViewReader] | None]:
        """Return name and view of the channel that a tab needs besides the shop."""
        if sid := _query_parameter(request, "segment"):
            return f"segment {sid}", lambda: SegmentView(self._reader, sid)
        if shopper := _query_parameter(request, "shopper"):
            return f"shopper {shopper}", lambda: ShopperView(self._reader, self._explainer, shopper)
        return "", None

    def _full_response(self) -> Response | None:
        if not self._tab_slots.is_full:
            return None
        return PlainTextResponse(
            f"{self._tab_slots.limit} pages are open: close one, or raise serving.tabs_max\n",
            HTTPStatus.SERVICE_UNAVAILABLE,
        )


def _query_parameter(request: Request, name: str) -> str:
    """Return a query parameter, "" if it is absent."""
    value = request.query_params.get(name, "")
    if len(value) > QUERY_CHARS_MAX:
        raise HTTPException(HTTPStatus.BAD_REQUEST, f"{name} is longer than {QUERY_CHARS_MAX}")
    return value


class _Json(Response):
    """A JSON response that must not be cached."""

    media_type = "application/json"

    def __init__(self, value: object) -> None:
        super().__init__(msgspec.json.encode(value), headers={"cache-control": "no-store"})
