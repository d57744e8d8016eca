"""The routes of the storefront's server, and how answers become HTTP: caching, errors, limits.

A route is one method here, one line in `ROUTES` and its types in `openapi` (a test compares them).
"""

from __future__ import annotations

import time
import zlib
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from serving.collector.routes import SEGMENT_CALLS
from serving.dashboard.guard import address_of
from serving.http import metrics
from serving.http.access import COOKIE, KEY_HEADER
from serving.http.errors import FieldProblem, Problems, RequestError, read_bytes
from serving.http.messages import (
    BytesResponse,
    RawHeaders,
    cookie_of,
    headers_of,
    parameter,
    query_of,
)
from serving.storefront.answers import ListAnswer, PageAnswer
from serving.storefront.openapi import document
from serving.storefront.requests import (
    BODY_BYTES_MAX,
    PageRequest,
    check_slot,
    page_of_body,
    page_of_query,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from starlette.requests import Request

    from serving.collector.routes import CollectorRoutes
    from serving.http.access import Caller, StorefrontAccess
    from serving.http.rates import RequestRates
    from serving.storefront.content import ContentTable
    from serving.storefront.finder import Finder
    from serving.storefront.reads import TimedReads

    Handler = Callable[[Request], Awaitable[Response]]
    PageRoute = tuple[str, str, Handler]

PERSONAL = "private, max-age=5"
SHARED = "public, max-age=60, stale-while-revalidate=300, stale-if-error=86400"
NEVER = "no-store"
EVERYBODY = "all"
"""The audience of lists that do not depend on who asks: a CDN may keep them."""
PREFLIGHT_S = 600
ANALYTICS_JS_HEADERS = ("authorization", "content-type", "x-retry-count")
"""Headers that a browser must be allowed to send, or analytics.js sends nothing at all."""
_VARY = f"Cookie, {KEY_HEADER}"
"""Of what is a shopper's. Starlette's CORS adds `Origin` to every answer: a CDN may keep them."""
_HEADERS: dict[str, RawHeaders] = {
    cache: (
        (b"cache-control", cache.encode()),
        (b"content-type", b"application/json"),
        (b"x-content-type-options", b"nosniff"),
        *(((b"vary", _VARY.encode()),) if cache == PERSONAL else ()),
    )
    for cache in (PERSONAL, SHARED, NEVER)
}
SNIPPET = Path(__file__).parents[1] / "static" / "snippet.js"


class StorefrontApp:
    """The handlers of the routes."""

    def __init__(
        self,
        finder: Finder,
        reads: TimedReads,
        access: StorefrontAccess,
        rates: RequestRates,
        contents: ContentTable,
        *,
        slots: tuple[str, ...],
        in_flight_max: int,
    ) -> None:
        self._finder = finder
        self._reads = reads
        self._access = access
        self._rates = rates
        self._contents = contents
        self._slots = slots
        self._in_flight_max = in_flight_max
        self._in_flight = 0

    async def one_list(self, request: Request) -> Response:
        """Answer `GET /v1/lists/{slot}`."""
        caller = self.admit(request)
        page = page_of_query(request.path_params["slot"], query_of(request))
        for_all = parameter(request, "audience") == EVERYBODY
        answers, is_shared = await self._find(request, caller, page, for_all=for_all)
        return _cached(request, answers[0], is_shared=is_shared)

    async def page_lists(self, request: Request) -> Response:
        """Answer `POST /v1/lists`."""
        caller = self.admit(request)
        page = page_of_body(await read_bytes(request, BODY_BYTES_MAX))
        answers, _ = await self._find(request, caller, page)
        return _json(PageAnswer(answers), cache=NEVER)

    async def shopper(self, request: Request) -> Response:
        """Answer `GET /v1/shopper`. A page sees its own visitor."""
        caller = self.admit(request)
        page = page_of_query("home", query_of(request))
        answer = await self._finder.shopper(self._shopper_of(request, caller, page))
        return _json(answer, cache=NEVER if answer.degraded else PERSONAL)

    async def content(self, request: Request) -> Response:
        """Answer `GET /v1/content/{slot}`."""
        caller = self.admit(request)
        page = page_of_query("home", query_of(request))
        shopper = await self._finder.shopper(self._shopper_of(request, caller, page))
        answer = self._contents.choose(request.path_params["slot"], shopper.segments)
        return _json(answer, cache=NEVER if shopper.degraded else PERSONAL)

    async def snippet(self, request: Request) -> Response:
        """Answer `GET /v1/snippet.js`: the script of a page. Anybody may have it."""
        headers = {"cross-origin-resource-policy": "cross-origin", "cache-control": SHARED}
        return FileResponse(SNIPPET, media_type="text/javascript", headers=headers)

    async def openapi(self, request: Request) -> Response:
        """Answer `GET /openapi.json`."""
        return _json(document(), cache=SHARED)

    async def health(self, request: Request) -> Response:
        """Report that the server is up."""
        return PlainTextResponse("ok\n")

    async def ready(self, request: Request) -> Response:
        """Report whether Redis answers."""
        is_ready = await self._reads.try_again()
        text = "ok\n" if is_ready else "Redis does not answer\n"
        return PlainTextResponse(text, 200 if is_ready else 503)

    async def metrics(self, request: Request) -> Response:
        """Return the metrics for Prometheus, to the shop alone."""
        if not self._access.caller(request.headers, "").is_trusted:
            raise RequestError(403, "$", "needs the secret key")
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(metrics.REGISTRY), media_type=content_type)

    async def _find(
        self, request: Request, caller: Caller, page: PageRequest, *, for_all: bool = False
    ) -> tuple[list[ListAnswer], bool]:
        """The lists of a page, and whether they are the same for everybody."""
        for slot in page.slots:
            check_slot(slot.slot, self._slots)
        if self._in_flight > self._in_flight_max:
            answers = self._finder.find_popular(page)
            shopper = ""
        else:
            shopper = "" if for_all else self._shopper_of(request, caller, page)
            answers = await self._finder.find(shopper, page)
        if degraded := sum(answer.degraded for answer in answers):
            metrics.DEGRADED.inc(degraded)
        return answers, not shopper and for_all

    def admit(self, request: Request, key: str | None = None) -> Caller:
        """Who asks. Raises RequestError for a wrong key, another origin, or too many requests.

        `key` is that of a page; without it, the one in the query.
        """
        key_of_page = parameter(request, "key") if key is None else key
        caller = self._access.caller(headers_of(request), key_of_page)
        self._rates.count(caller.key, "" if caller.is_trusted else address_of(request))
        return caller

    def _shopper_of(self, request: Request, caller: Caller, page: PageRequest) -> str:
        cookie = cookie_of(request, COOKIE)
        return self._access.shopper_of(caller, page.shopper, page.visitor, page.sig, cookie)

    def measured(self, route: str, handler: Handler) -> Handler:
        """A handler with its metrics, whose `RequestError` becomes an answer."""
        seconds = metrics.SECONDS.labels(route)
        counts = lru_cache(partial(metrics.REQUESTS.labels, route))

        async def answer(request: Request) -> Response:
            began_s = time.perf_counter()
            self._in_flight += 1
            metrics.IN_FLIGHT.set(self._in_flight)
            try:
                response = await handler(request)
            except RequestError as error:
                response = _json(Problems(error.problems), status=error.status, cache=NEVER)
                response.headers.update(error.headers)
            finally:
                self._in_flight -= 1
                metrics.IN_FLIGHT.set(self._in_flight)
            counts(response.status_code).inc()
            seconds.observe(time.perf_counter() - began_s)
            return response

        return answer


ROUTES = (
    ("GET", "/v1/lists/{slot}", "one_list"),
    ("POST", "/v1/lists", "page_lists"),
    ("GET", "/v1/shopper", "shopper"),
    ("GET", "/v1/content/{slot}", "content"),
    ("GET", "/v1/snippet.js", "snippet"),
    ("GET", "/openapi.json", "openapi"),
    ("GET", "/healthz", "health"),
    ("GET", "/readyz", "ready"),
    ("GET", "/metrics", "metrics"),
)


COLLECTED = (
    ("POST", "/v1/events", "events"),
    *(("POST", f"/v1/{call}", "segment") for call in SEGMENT_CALLS),
)


def create_app(
    storefront: StorefrontApp,
    collector: CollectorRoutes | None,
    origins: tuple[str, ...],
    pages: Sequence[PageRoute] = (),
) -> Starlette:
    """The application with all routes, those of the collector where there is one, and a shop's pages."""
    handlers: list[PageRoute] = [
        (method, path, getattr(storefront, name)) for method, path, name in ROUTES
    ]
    handlers += pages
    if collector is not None:
        handlers += [(method, path, getattr(collector, name)) for method, path, name in COLLECTED]
    routes = [
        Route(path, storefront.measured(path, handler), methods=[method])
        for method, path, handler in handlers
    ]
    starlette = Starlette(routes=routes, exception_handlers={404: _unknown, 405: _unknown})
    starlette.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_methods=["GET", "POST"],
        allow_headers=[KEY_HEADER, *ANALYTICS_JS_HEADERS],
        allow_credentials=True,
        expose_headers=["etag", "retry-after"],
        max_age=PREFLIGHT_S,
    )
    return starlette


def _cached(request: Request, answer: ListAnswer, *, is_shared: bool) -> Response:
    """One list with its ETag, or 304 where the asker has it. The age of a list is no change of it."""
    if answer.degraded:
        return _json(answer, cache=NEVER)
    age_ms, answer.age_ms = answer.age_ms, 0
    body = msgspec.json.encode(answer)
    answer.age_ms = age_ms
    # The id names whose list it is and of when; the checksum tells versions of it apart.
    etag = f'W/"{answer.list_id}-{zlib.crc32(body):x}"'
    cache = SHARED if is_shared else PERSONAL
    if etag in headers_of(request).get("if-none-match", ""):
        headers = {"etag": etag, "cache-control": cache}
        return Response(status_code=304, headers=headers | ({} if is_shared else {"vary": _VARY}))
    # Text in JSON has no bare quotation marks, so the first match is the field.
    aged = body.replace(b'"age_ms":0', b'"age_ms":%d' % age_ms, 1)
    return BytesResponse(aged, 200, (*_HEADERS[cache], (b"etag", etag.encode())))


def _json(answer: Any, *, cache: str, status: int = 200) -> Response:
    return BytesResponse(msgspec.json.encode(answer), status, _HEADERS[cache])


async def _unknown(request: Request, error: Exception) -> Response:
    status = getattr(error, "status_code", 404)
    message = (
        "no such route: /openapi.json has all" if status == 404 else "another method is needed"
    )
    response = _json(Problems([FieldProblem("$", message)]), status=status, cache=NEVER)
    response.headers.update(getattr(error, "headers", None) or {})  # `Allow`, with 405
    return response
