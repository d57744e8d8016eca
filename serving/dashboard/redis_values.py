"""Replies of Redis as the values a page takes: text, numbers, rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Number = int | float
RedisValue = str | int | float


def text(raw: bytes | None) -> str:
    """What stands there; what is no UTF-8 is shown as such."""
    return "" if raw is None else raw.decode(errors="replace")


def number(raw: bytes | None) -> Number | None:
    """A number, None where there is none.

    >>> number(b"12"), number(b"0.50"), number(b"many"), number(None), number(b"nan")
    (12, 0.5, None, None, None)
    """
    if raw is None:
        return None
    try:
        return int(raw)
    except ValueError:
        pass
    try:
        parsed = float(raw)
    except ValueError:
        return None
    return parsed if abs(parsed) < float("inf") else None


def texts(fields: Mapping[bytes, bytes]) -> dict[str, str]:
    """A HASH as text."""
    return {text(name): text(value) for name, value in fields.items()}


def numbers(fields: Mapping[bytes, bytes]) -> dict[str, Number]:
    """A HASH as far as it holds numbers."""
    named = ((text(name), number(value)) for name, value in fields.items())
    return {name: value for name, value in named if value is not None}


def parse_json(raw: bytes | None) -> Any:
    """A JSON text, None where there is none or it is broken."""
    try:
        return None if raw is None else orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def scored_members(flat: Iterable[bytes]) -> list[tuple[str, int]]:
    """Members and scores as a ZRANGE gives them.

    >>> scored_members([b"ann", b"7"])
    [('ann', 7)]
    """
    steps = iter(flat)
    return [(text(member), int(float(score))) for member, score in zip(steps, steps, strict=True)]
