"""The middleware that enforces `access`, the login form, and the security headers of every response."""

from __future__ import annotations

import logging
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from serving.dashboard import metrics
from serving.dashboard.access import COOKIE, COOKIE_S, Access
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger("penstock.page")

FORM_BYTES_MAX = 4096
TOO_MANY_TRIES = "Too many wrong tokens from your address: try again in a few seconds."
PUBLIC_PATHS = (
    "/login",
    "/static/page.css",
    "/static/favicon.svg",
    "/static/theme.js",
    "/healthz",
    "/metrics",
)

SECURITY_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}


class Guard:
    """Middleware that refuses requests without access and adds security headers."""

    def __init__(
        self, app: ASGIApp, access: Access, clock: Callable[[], float] = time.time
    ) -> None:
        self._app = app
        self._access = access
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                metrics.REQUESTS.labels(message["status"]).inc()
                message["headers"] = [
                    *message["headers"],
                    *((name.encode(), value.encode()) for name, value in SECURITY_HEADERS.items()),
                ]
            await send(message)

        refusal = await self._refusal(Request(scope))
        try:
            await (refusal or self._app)(scope, receive, send_with_headers)
        except Exception as error:
            # Only a response that has begun can fail here: its connection is closed, so that the client
            # sees that it is incomplete.
            cause = error.__cause__
            _log.error(
                "an answer was cut short: %s",
                cause or error,
                exc_info=None if isinstance(cause, UserError) else error,
            )
            raise

    async def _refusal(self, request: Request) -> Response | None:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if not self._access.is_own_host(request.headers.get("host", "")):
            return PlainTextResponse(
                "Open this page as http://127.0.0.1 or http://localhost.\n",
                HTTPStatus.MISDIRECTED_REQUEST,
            )
        if path in PUBLIC_PATHS or path.startswith("/static/vendor/"):
            return None
        if self._access.is_allowed(request.headers, request.cookies, self._clock()):
            return None
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            is_correct = await self._access.try_token(token.strip(), address_of(request))
            if is_correct is None:
                return PlainTextResponse(
                    TOO_MANY_TRIES + "\n", HTTPStatus.TOO_MANY_REQUESTS, {"retry-after": "1"}
                )
            if is_correct:
                return None
        if path == "/" and self._access.needs_login:
            return RedirectResponse("login", HTTPStatus.SEE_OTHER)
        message = "Log in first.\n" if self._access.needs_login else "Come through the proxy.\n"
        return PlainTextResponse(message, HTTPStatus.UNAUTHORIZED)


def address_of(request: Request) -> str:
    """Return the address of the client; a proxy on this machine sends it in `X-Forwarded-For`."""
    return request.client.host if request.client else ""


async def log_in(request: Request, access: Access, form: str, now_s: float) -> Response:
    """Answer the login form: set the cookie if the token is right."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > FORM_BYTES_MAX:
            return PlainTextResponse("too long\n", HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
    token = parse_qs(body.decode(errors="replace")).get("token", [""])[0]
    is_correct = await access.try_token(token, address_of(request))
    if is_correct is None:
        return Response(
            form.replace("<!-- said -->", TOO_MANY_TRIES),
            HTTPStatus.TOO_MANY_REQUESTS,
            {"retry-after": "1"},
            media_type="text/html",
        )
    if not is_correct:
        return Response(
            form.replace("<!-- said -->", "That is not the token."),
            HTTPStatus.FORBIDDEN,
            media_type="text/html",
        )
    response = RedirectResponse("./", HTTPStatus.SEE_OTHER)
    response.set_cookie(
        COOKIE,
        access.cookie(now_s),
        max_age=COOKIE_S,
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )
    return response
