"""The parts of requests and answers that every route needs, at the cost of a few microseconds."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.requests import cookie_parser
from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

RawHeaders = tuple[tuple[bytes, bytes], ...]
"""Headers as they are sent: names in small letters."""

_HEADERS = "penstock.headers"


@lru_cache(maxsize=1000)
def _parse(query: bytes) -> tuple[tuple[str, str], ...]:
    return tuple(parse_qsl(query.decode("latin-1"), keep_blank_values=True))


def query_of(request: Request) -> tuple[tuple[str, str], ...]:
    """The parameters in the query, in their order. Pages of a shop ask mostly the same."""
    return _parse(request.scope["query_string"])


@lru_cache(maxsize=1000)
def _by_name(query: bytes) -> dict[str, str]:
    return dict(_parse(query))


def parameter(request: Request, name: str, default: str = "") -> str:
    """One parameter in the query; the last one where it is given twice."""
    return _by_name(request.scope["query_string"]).get(name, default)


def headers_of(request: Request) -> dict[str, str]:
    """The headers by their names in small letters; the first one where it is given twice."""
    scope = request.scope
    found: dict[str, str] | None = scope.get(_HEADERS)
    if found is None:
        pairs = reversed(scope["headers"])
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in pairs}
        scope[_HEADERS] = found
    return found


def cookie_of(request: Request, name: str) -> str:
    """The value of a cookie, "" without it; of two with one name the last. The others are not read."""
    found = ""
    for header, value in request.scope["headers"]:
        if header == b"cookie":
            for pair in value.decode("latin-1").split(";"):
                key, _, text = pair.partition("=")
                if key.strip() == name:
                    found = text.strip()
    # Starlette writes a value with special characters in quotation marks.
    return found if '"' not in found else cookie_parser(f"{name}={found}").get(name, "")


class BytesResponse(Response):
    """An answer whose headers are bytes already."""

    def __init__(self, body: bytes, status: int, headers: RawHeaders) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [*headers, (b"content-length", b"%d" % len(body))]
