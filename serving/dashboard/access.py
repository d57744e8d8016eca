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
from typing import TYPE_CHECKING

from serving.dashboard.attempts import TokenAttempts
from state.errors import ConfigurationError

if TYPE_CHECKING:
    from starlette.datastructures import Headers

_log = logging.getLogger("penstock.page")

TOKEN_VARIABLE = "PENSTOCK_DASHBOARD_TOKEN"  # noqa: S105  the name of the variable
TOKEN_CHARS_MIN = 16
COOKIE = "penstock"
COOKIE_S = 12 * 3600
EXPIRY_DIGITS_MAX = 12
LOOPBACK = ("127.0.0.1", "::1", "localhost")


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
