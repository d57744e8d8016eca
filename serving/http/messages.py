"""The parts of requests and answers that every route needs, at the cost of a few microseconds."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from starlette.responses import Response

if TYPE_CHECKING:
    from starlette.requests import Request

RawHeaders = tuple[tuple[bytes, bytes], ...]
"""Headers as they are sent: names in small letters."""


@lru_cache(maxsize=1000)
def _parse(query: bytes) -> tuple[tuple[str, str], ...]:
    return tuple(parse_qsl(query.decode("latin-1"), keep_blank_values=True))


def query_of(request: Request) -> tuple[tuple[str, str], ...]:
    """The parameters in the query, in their order. Pages of a shop ask mostly the same."""
    return _parse(request.scope["query_string"])


def parameter(request: Request, name: str, default: str = "") -> str:
    """One parameter in the query; the last one where it is given twice."""
    return next((text for one, text in reversed(query_of(request)) if one == name), default)


class BytesResponse(Response):
    """An answer whose headers are bytes already."""

    def __init__(self, body: bytes, status: int, headers: RawHeaders) -> None:
        self.status_code = status
        self.background = None
        self.body = body
        self.raw_headers = [*headers, (b"content-length", b"%d" % len(body))]
