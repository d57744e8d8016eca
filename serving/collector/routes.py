"""The routes of the collector: its own, and those that Segment's libraries send to.

`/v1/batch` and the routes beside it have the form of Segment's HTTP API, so that analytics.js,
RudderStack and their server libraries work with another host. Their write key is a key of ours.
"""

from __future__ import annotations

import gzip
import io
import zlib
from typing import TYPE_CHECKING

import msgspec

from serving.collector.forms import PageVisitor, read_body
from serving.collector.intake import Sender
from serving.http.access import COOKIE
from serving.http.errors import RequestError, read_bytes
from serving.http.messages import BytesResponse, cookie_of, headers_of, parameter
from state.events import Event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from serving.collector.intake import Intake
    from serving.http.access import Caller, StorefrontAccess
    from state.dead_letters import DeadLetter
    from state.limits import Limits

BODY_BYTES_MAX = 1024 * 1024
SEGMENT_CALLS = (
    "batch",
    "b",
    "track",
    "t",
    "page",
    "p",
    "identify",
    "i",
    "alias",
    "a",
    "group",
    "g",
    "screen",
)
"""The calls of Segment's HTTP API, in the long form of servers and in the short one of analytics.js."""
_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-type", b"application/json"),
    (b"x-content-type-options", b"nosniff"),
)
SHORT_CALLS = {"b": "batch", "t": "track", "p": "page", "i": "identify", "a": "alias", "g": "group"}


class CollectorRoutes:
    """The handlers of the collector's routes. `admit` gives who asks, or refuses."""

    def __init__(
        self,
        intake: Intake,
        access: StorefrontAccess,
        admit: Callable[[Request, str], Caller],
        clock_ms: Callable[[], int],
        limits: Limits,
    ) -> None:
        self._intake = intake
        self._access = access
        self._admit = admit
        self._clock_ms = clock_ms
        self._limits = limits

    async def events(self, request: Request) -> Response:
        """Answer `POST /v1/events`: one event, an array, or lines."""
        return await self._collect(request, parameter(request, "format", "penstock"), "")

    async def segment(self, request: Request) -> Response:
        """Answer a call of Segment's HTTP API."""
        call = request.scope["path"].rpartition("/")[2]
        return await self._collect(request, "segment", SHORT_CALLS.get(call, call))

    async def _collect(self, request: Request, form: str, call: str) -> Response:
        body = _inflated(request, await read_bytes(request, BODY_BYTES_MAX))
        if call not in ("", "batch"):
            body = _with_type(body, call)
        caller = self._admit(request, _key_of_page(request, body if call else b""))
        now_ms = self._clock_ms()
        visitor = None
        if not caller.is_trusted:
            visitor = PageVisitor(lambda: self._known_visitor(request), self._access.new_visitor)
        results = read_body(body, form, visitor=visitor, now_ms=now_ms, limits=self._limits)
        sender = Sender(caller.is_trusted, refuses_ads=headers_of(request).get("sec-gpc") == "1")
        answer = await self._intake.accept(results, sender, now_ms)
        # analytics.js and server libraries of Segment take 200 only.
        status = 200 if call else 202
        response = BytesResponse(msgspec.json.encode(answer), status, _HEADERS)
        if visitor is not None and visitor.new_name and _counts_for(results, visitor.new_name):
            self._set_cookie(request, response, visitor.new_name)
        return response

    def _known_visitor(self, request: Request) -> str:
        return self._access.visitor_of(cookie_of(request, COOKIE))

    def _set_cookie(self, request: Request, response: Response, visitor: str) -> None:
        response.set_cookie(
            COOKIE,
            self._access.cookie_of(visitor),
            max_age=self._access.cookie_age_s,
            httponly=True,
            samesite="lax",
            secure=request.url.scheme == "https",
        )


def _counts_for(results: Sequence[Event | DeadLetter], visitor: str) -> bool:
    """Whether an event counts for a visitor."""
    return any(isinstance(one, Event) and one.anonymous_id == visitor for one in results)


def _inflated(request: Request, body: bytes) -> bytes:
    """The body without its compression, of the same greatest size. Raises RequestError."""
    coding = headers_of(request).get("content-encoding", "identity").lower()
    if coding == "identity":
        return body
    if coding != "gzip":
        raise RequestError(415, "$", "content-encoding must be gzip, or absent")
    try:
        # Half a body ends in an error: whole events of it must not be accepted, the rest would be lost.
        inflated = gzip.GzipFile(fileobj=io.BytesIO(body)).read(BODY_BYTES_MAX + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise RequestError(400, "$", f"not gzip: {error}") from None
    if len(inflated) > BODY_BYTES_MAX:
        raise RequestError(413, "$", f"more than {BODY_BYTES_MAX} bytes")
    return inflated


def _with_type(body: bytes, call: str) -> bytes:
    """A single call with its type, which its path may say instead."""
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return body
    if not isinstance(fields, dict) or "type" in fields:
        return body
    return msgspec.json.encode({**fields, "type": call})


def _key_of_page(request: Request, body: bytes) -> str:
    """The key of a page that sends no header: in the query, or in the body, as analytics.js does."""
    key = parameter(request, "key")
    if key or not body:
        return key
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return ""
    key = fields.get("writeKey", "") if isinstance(fields, dict) else ""
    return key if isinstance(key, str) else ""
