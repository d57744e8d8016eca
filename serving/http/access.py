"""Who may ask. A page has the publishable key, a server of the shop the secret one.

With the publishable key a browser names only its own visitor: by a cookie that the server sets, or by an
id that the shop has signed. Otherwise whoever guesses an id would read another's list. With the secret
key any shopper may be named. Without keys the server listens on a loopback address only, and whoever
reaches it may ask everything.

A signature is `<expires_s>.<hex>`: the HMAC-SHA-256 of `<id>|<expires_s>` in hex. The cookie is the
id and its signature. Both expire; within that time only who has them can use them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import secrets
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from serving.http.errors import RequestError
from state.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

KEY_VARIABLE = "PENSTOCK_STOREFRONT_KEY"
SECRET_VARIABLE = "PENSTOCK_STOREFRONT_SECRET"  # noqa: S105  the name of the variable
KEY_HEADER = "x-penstock-key"
COOKIE = "penstock_visitor"
SECRET_CHARS_MIN = 24
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EXPIRY_DIGITS_MAX = 12
_DAY_S = 86_400


class Caller(NamedTuple):
    """Who asks: whether with the secret key, and a name for the limit of requests."""

    is_trusted: bool
    key: str


class StorefrontAccess:
    """The rules of access. Raises ConfigurationError where anybody could read anything."""

    def __init__(
        self,
        host: str,
        origins: tuple[str, ...],
        *,
        visitor_days: int,
        clock_s: Callable[[], float],
        environment: Mapping[str, str] = os.environ,
    ) -> None:
        self.origins = tuple(origin.rstrip("/") for origin in origins)
        self._key = environment.get(KEY_VARIABLE, "")
        self._secret = environment.get(SECRET_VARIABLE, "")
        self._visitor_s = visitor_days * _DAY_S
        self._clock_s = clock_s
        if bool(self._key) != bool(self._secret):
            raise ConfigurationError(
                f"set both {KEY_VARIABLE}, which pages show, and {SECRET_VARIABLE}, which they never do"
            )
        if self._secret and (len(self._secret) < SECRET_CHARS_MIN or self._secret == self._key):
            raise ConfigurationError(
                f"{SECRET_VARIABLE} is too short, or the same as {KEY_VARIABLE}: at least "
                f"{SECRET_CHARS_MIN} characters, such as `openssl rand -hex 24` gives"
            )
        if not self._key and host not in LOOPBACK:
            raise ConfigurationError(
                f"storefront.listen {host} is open to others: set {KEY_VARIABLE} and {SECRET_VARIABLE}"
            )
        signing_secret = self._secret or secrets.token_hex(24)
        self._signing_key = hashlib.sha256(b"penstock visitor" + signing_secret.encode()).digest()
        self.list_key = hashlib.sha256(b"penstock list" + signing_secret.encode()).digest()[:32]

    def caller(self, headers: Mapping[str, str], key_in_query: str) -> Caller:
        """Who asks, by the key in a header or, for a page, in the query. Raises RequestError."""
        if not self._key:
            if not _names_loopback(headers.get("host", "")):
                raise RequestError(421, "$", "without keys, ask 127.0.0.1 or localhost")
            return Caller(is_trusted=True, key="")
        given = headers.get(KEY_HEADER) or _authorization(headers.get("authorization", ""))
        # The secret is not accepted in a URL: those are in logs and in the history of browsers.
        if given and hmac.compare_digest(given.encode(), self._secret.encode()):
            return Caller(is_trusted=True, key="secret")
        if not hmac.compare_digest((given or key_in_query).encode(), self._key.encode()):
            raise RequestError(401, "$", f"the key in the header {KEY_HEADER} is missing or wrong")
        origin = headers.get("origin", "")
        if origin and origin not in self.origins and not _is_same_host(origin, headers):
            raise RequestError(403, "$", f"the origin {origin[:200]} is not in storefront.origins")
        return Caller(is_trusted=False, key="publishable")

    def shopper_of(
        self, caller: Caller, shopper: str | None, visitor: str | None, signature: str, cookie: str
    ) -> str:
        """The id whose lists may be read, "" for nobody's. Raises RequestError."""
        if shopper is not None:
            if not caller.is_trusted:
                raise RequestError(
                    403, "$.shopper", "needs the secret key: a page names its visitor"
                )
            return shopper
        if visitor is not None:
            if caller.is_trusted or self._is_signed(visitor, signature):
                return visitor
            raise RequestError(
                403, "$.visitor", "its signature in sig is missing, wrong or expired"
            )
        return self.visitor_of(cookie)

    def visitor_of(self, cookie: str) -> str:
        """The visitor of a cookie, "" where it is missing, forged or expired."""
        name, _, signature = cookie.partition("~")
        return name if name and self._is_signed(name, signature) else ""

    def new_visitor(self) -> str:
        """An id for a visitor without one. Nobody can guess it."""
        return f"v-{secrets.token_urlsafe(16)}"

    def cookie_of(self, visitor: str) -> str:
        """The value of the cookie of a visitor."""
        return f"{visitor}~{self.sign(visitor)}"

    @property
    def cookie_age_s(self) -> int:
        """How long the cookie is kept, in seconds."""
        return self._visitor_s

    def sign(self, visitor: str) -> str:
        """The signature of an id, with its time of expiry."""
        expires_s = int(self._clock_s()) + self._visitor_s
        return f"{expires_s}.{self._digest(visitor, str(expires_s))}"

    def _is_signed(self, visitor: str, signature: str) -> bool:
        expires_s, _, digest = signature.partition(".")
        if not (
            expires_s.isascii() and expires_s.isdigit() and len(expires_s) <= _EXPIRY_DIGITS_MAX
        ):
            return False
        expected = self._digest(visitor, expires_s)
        is_right = hmac.compare_digest(digest.encode(), expected.encode())
        return is_right and int(expires_s) >= self._clock_s()

    def _digest(self, visitor: str, expires_s: str) -> str:
        message = f"{visitor}|{expires_s}".encode()
        return hmac.digest(self._signing_key, message, "sha256").hex()


def _authorization(header: str) -> str:
    """The key in an Authorization header: a bearer token, or the user name of a basic login.

    >>> _authorization("Bearer abc"), _authorization("Basic YWJjOg=="), _authorization("Digest x")
    ('abc', 'abc', '')
    """
    kind, _, token = header.partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    if kind.lower() != "basic":
        return ""
    try:
        return base64.b64decode(token, validate=True).decode().partition(":")[0]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _is_same_host(origin: str, headers: Mapping[str, str]) -> bool:
    return urlsplit(origin).netloc == headers.get("host", "")


def _names_loopback(host: str) -> bool:
    name = host.rpartition(":")[0] if not host.endswith("]") and ":" in host else host
    return name.strip("[]") in LOOPBACK
