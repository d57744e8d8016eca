"""Converts replies of Redis to values of the page: text, numbers, rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Number = int | float
RedisValue = str | int | float


def text(raw: bytes | None) -> str:
    """Return the text, "" for None; bytes that are not UTF-8 are replaced."""
    return "" if raw is None else raw.decode(errors="replace")


def number(raw: bytes | None) -> Number | None:
    """Return the number, None if it is missing or not a finite number.

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
    """Return the fields of a HASH as text."""
    return {text(name): text(value) for name, value in fields.items()}


def numbers(fields: Mapping[bytes, bytes]) -> dict[str, Number]:
    """Return the numeric fields of a HASH."""
    named = ((text(name), number(value)) for name, value in fields.items())
    return {name: value for name, value in named if value is not None}


def parse_json(raw: bytes | None) -> Any:
    """Parse JSON; None if it is missing or invalid."""
    try:
        return None if raw is None else orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None


def scored_members(flat: Iterable[bytes]) -> list[tuple[str, int]]:
    """Return members and scores from the flat reply of a ZRANGE.

    >>> scored_members([b"ann", b"7"])
    [('ann', 7)]
    """
    steps = iter(flat)
    return [(text(member), int(float(score))) for member, score in zip(steps, steps, strict=True)]
