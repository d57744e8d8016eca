"""An HTTP client for one endpoint: one request after the other, over one persistent connection.

It uses the standard library, because no client library limits the total time of a request: here
`abort_overdue` does that from another thread.
"""

from __future__ import annotations

import select
import socket
import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

from state import keys

if TYPE_CHECKING:
    import ssl

PERMANENT_FAILURES = frozenset({400, 413, 415, 422})
"""Statuses of an endpoint that will never accept this message."""
_RESPONSE_BYTES_MAX = 1 << 16
_USER_AGENT = f"Penstock/{keys.WRITER_VERSION}"


class HttpResponse(NamedTuple):
    """The result of a request: status (0: no response), a description, the requested pause (s)."""

    status: int
    description: str
    retry_after_s: float = 0.0

    @property
    def is_success(self) -> bool:
        """Whether the endpoint accepted the message."""
        return 200 <= self.status < 300

    @property
    def is_permanent_failure(self) -> bool:
        """Whether a retry cannot succeed."""
        return self.status in PERMANENT_FAILURES


class HttpClient:
    """Posts to one URL. For one thread, except `abort_overdue`."""

    def __init__(self, url: str, timeout_s: float, tls: ssl.SSLContext | None) -> None:
        parts = urlsplit(url)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._timeout_s = timeout_s
        self._began_s: float | None = None
        self._is_overdue = False
        host, port = parts.hostname or "", parts.port
        if tls is not None:
            self._connection: HTTPConnection = HTTPSConnection(
                host, port, timeout=timeout_s, context=tls
            )
        else:
            self._connection = HTTPConnection(host, port, timeout=timeout_s)

    def post(self, body: bytes, headers: dict[str, str]) -> HttpResponse:
        """Send JSON and return the response. Network errors are responses with status 0."""
        all_headers = {"Content-Type": "application/json", "User-Agent": _USER_AGENT, **headers}
        if _is_connection_lost(self._connection.sock):
            self._connection.close()
        self._is_overdue = False
        self._began_s = time.monotonic()
        try:
            self._connection.request("POST", self._path, body, all_headers)
            response = self._connection.getresponse()
            response.read(_RESPONSE_BYTES_MAX)
            if not response.isclosed():
                self._connection.close()
        except (OSError, HTTPException, UnicodeError) as error:
            self._connection.close()
            timeout_text = f"did not answer within {self._timeout_s:g} s"
            is_late = self._is_overdue or isinstance(error, TimeoutError)
            return HttpResponse(0, timeout_text if is_late else f"{type(error).__name__}: {error}")
        finally:
            self._began_s = None
        status, retry_after = response.status, response.headers.get("Retry-After", "")
        return HttpResponse(
            status, f"answered {status} {response.reason}".rstrip(), _parse_retry_after(retry_after)
        )

    def abort_overdue(self) -> None:
        """Abort a request whose total time is over. Called from another thread."""
        began_s, sock = self._began_s, self._connection.sock
        if began_s is None or time.monotonic() - began_s <= self._timeout_s or sock is None:
            return
        self._is_overdue = True
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


def _is_connection_lost(sock: socket.socket | None) -> bool:
    """Whether the endpoint closed an idle connection: it sends nothing else without a request."""
    return sock is not None and bool(select.select([sock], [], [], 0)[0])


def _parse_retry_after(text: str) -> float:
    """The pause in a `Retry-After` header (s); 0 if it cannot be parsed.

    >>> [_parse_retry_after(text) for text in ("120", "soon", "Wed, 21 Oct 2015 07:28:00 GMT")]
    [120.0, 0.0, 0.0]
    """
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return 0.0
