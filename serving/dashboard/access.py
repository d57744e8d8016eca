"""Who may see the dashboard: users of this machine, holders of the token, users of a proxy.

On a loopback address without a token only the host name of a request is checked, so that no other
site can make a browser read the page. On any other address a request needs a token (`Authorization:
Bearer`, or the cookie that the login form sets) or the header of a proxy. A URL never contains a
secret.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import os
import time
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from serving.dashboard import metrics
from serving.dashboard.attempts import TokenAttempts
from state.errors import ConfigurationError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.datastructures import Headers
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger("penstock.page")

TOKEN_VARIABLE = "PENSTOCK_DASHBOARD_TOKEN"  # noqa: S105  the name of the variable
TOKEN_CHARS_MIN = 16
COOKIE = "penstock"
COOKIE_S = 12 * 3600
FORM_BYTES_MAX = 4096
EXPIRY_DIGITS_MAX = 12
LOOPBACK = ("127.0.0.1", "::1", "localhost")
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


class Access:
    """The rules of access.

    Raises ConfigurationError if other machines could read without a token or proxy.
    """

    def __init__(self, host: str, proxy_header: str, token: str | None = None) -> None:
        self.token = os.environ.get(TOKEN_VARIABLE, "") if token is None else token
        self.proxy_header = proxy_header
        self.is_loopback = host in LOOPBACK
        if self.token and len(self.token) < TOKEN_CHARS_MIN:
            raise ConfigurationError(
                f"{TOKEN_VARIABLE} is too short: at least {TOKEN_CHARS_MIN} characters, such as "
                "`openssl rand -hex 24` gives"
            )
        if not (self.is_loopback or self.token or proxy_header):
            raise ConfigurationError(
                f"serving.listen {host} is open to others: set {TOKEN_VARIABLE}, or name in "
                "serving.proxy_header the header in which a proxy says who asks"
            )
        self.attempts = TokenAttempts(time.monotonic)

    @property
    def needs_login(self) -> bool:
        """Whether a token is set, so that the page has a login form."""
        return self.token != ""

    def is_allowed(self, headers: Headers, cookies: dict[str, str], now_s: float) -> bool:
        """Whether a request is allowed by its proxy header, its address or its cookie."""
        if self.proxy_header and headers.get(self.proxy_header):
            return True
        if not self.token:
            return self.is_loopback and not self.proxy_header
        expires_s, _, signature = cookies.get(COOKIE, "").partition(".")
        if not (
            expires_s.isascii() and expires_s.isdigit() and len(expires_s) <= EXPIRY_DIGITS_MAX
        ):
            return False
        is_signed = hmac.compare_digest(self._signature(expires_s).encode(), signature.encode())
        return is_signed and int(expires_s) >= now_s

    async def try_token(self, token: str, address: str) -> bool | None:
        """Whether `token` is right; None if too many tries from `address` wait already.

        Tries after wrong tokens are delayed (`serving.dashboard.attempts`).
        """
        if not self.token:
            return False
        if not await self.attempts.wait_for_turn(address):
            return None
        is_correct = hmac.compare_digest(token.encode(), self.token.encode())
        if not is_correct:
            self.attempts.record_failure(address)
        return is_correct

    def is_own_host(self, host: str) -> bool:
        """Whether the host name of a request is a name of this machine.

        Only checked without token or proxy.
        """
        if not self.is_loopback or self.token or self.proxy_header:
            return True
        name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
        return name.strip("[]") in LOOPBACK

    def cookie(self, now_s: float) -> str:
        """Return the value of the cookie: its expiry, signed. It does not contain the token."""
        expires_s = str(int(now_s) + COOKIE_S)
        return f"{expires_s}.{self._signature(expires_s)}"

    def _signature(self, expires_s: str) -> str:
        key = hashlib.sha256(b"penstock dashboard" + self.token.encode()).digest()
        return hmac.new(key, expires_s.encode(), hashlib.sha256).hexdigest()


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
