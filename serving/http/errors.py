"""Refusals: a status and, in the words of the dead letters, what is wrong with which field."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from starlette.requests import Request


class FieldProblem(msgspec.Struct):
    """What is wrong with one field, in the words of the dead letters."""

    path: str
    message: str


class Problems(msgspec.Struct):
    """The body of an answer with a status from 400 on."""

    errors: list[FieldProblem]


class RequestError(Exception):
    """A request that cannot be answered: a status and what is wrong with which field."""

    def __init__(self, status: int, path: str, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.problems = [FieldProblem(path, message)]
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


async def read_bytes(request: Request, limit: int) -> bytes:
    """The body of a request. Raises RequestError 413 where it is longer than `limit`."""
    body: bytes | bytearray = b""
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        if not body:
            body = part  # mostly the only one, which is not copied
        elif part:
            # Others are appended: to join each with all before it would cost the square of their number.
            body = bytearray(body) if isinstance(body, bytes) else body
            body += part
        if len(body) > limit:
            raise RequestError(413, "$", f"more than {limit} bytes")
        more = message.get("more_body", False)
    return bytes(body)
