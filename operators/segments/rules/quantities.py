"""Amounts, spans and shares as people write them: `at least 3`, `30 min`, `10 %`."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

from operators.segments.rules.ast import Bounds
from state.money import MICROS
from state.times import DAY_MS, HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNT, MONEY, DAYS, MINUTES, SHARE = 1, MICROS, DAY_MS, MINUTE_MS, MICROS
"""What a written 1 is in the unit the flow works in."""

SPAN_MS_MAX = 3650 * DAY_MS

_NUMBER = r"-?\d+(?:\.\d+)?"
_OPERATORS: Mapping[str, str] = {
    "at least": "at least",
    ">=": "at least",
    "at most": "at most",
    "<=": "at most",
    "more than": "more than",
    ">": "more than",
    "less than": "less than",
    "fewer than": "less than",
    "<": "less than",
    "exactly": "exactly",
    "=": "exactly",
    "==": "exactly",
    "is": "exactly",
}
_ONE = re.compile(
    rf"({'|'.join(map(re.escape, sorted(_OPERATORS, key=len, reverse=True)))})\s*({_NUMBER})"
)
_BETWEEN = re.compile(rf"between\s+({_NUMBER})\s+and\s+({_NUMBER})")
_SPAN = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_UNITS_MS = {
    **dict.fromkeys(("s", "second", "seconds"), 1000),
    **dict.fromkeys(("min", "minute", "minutes"), MINUTE_MS),
    **dict.fromkeys(("h", "hour", "hours"), HOUR_MS),
    **dict.fromkeys(("d", "day", "days"), DAY_MS),
    **dict.fromkeys(("w", "week", "weeks"), 7 * DAY_MS),
}
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


def bounds(text: str, unit: int) -> Bounds | None:
    """The range that an amount names, None where it names none, as half a purchase.

    >>> bounds("at least 3", COUNT), bounds("> 9.5", MONEY).low, bounds("three", COUNT)
    (Bounds(low=3, high=None, words='at least 3'), 9500001, None)
    """
    if found := _BETWEEN.fullmatch(text):
        low, high = (Decimal(number) * unit for number in found.groups())
        if _up(low) > _down(high):
            return None
        words = f"between {found[1]} and {found[2]}"
        return Bounds(_up(low), _down(high), words)
    found = _ONE.fullmatch(text)
    if found is None:
        return None
    operator, number = _OPERATORS[found[1]], Decimal(found[2]) * unit
    words = f"{operator} {found[2]}"
    match operator:
        case "at least":
            return Bounds(_up(number), None, words)
        case "at most":
            return Bounds(None, _down(number), words)
        case "more than":
            return Bounds(_down(number) + 1, None, words)
        case "less than":
            return Bounds(None, _up(number) - 1, words)
    return Bounds(_up(number), _down(number), words) if _up(number) == _down(number) else None


def span_ms(text: str) -> int | None:
    """A span of time in ms, None where it is none or longer than ten years.

    >>> span_ms("30 min"), span_ms("1.5 h"), span_ms("60d"), span_ms("soon")
    (1800000, 5400000, 5184000000, None)
    """
    found = _SPAN.fullmatch(text.strip().lower())
    if found is None or found[2] not in _UNITS_MS:
        return None
    ms = int(Decimal(found[1]) * _UNITS_MS[found[2]])
    return ms if 0 < ms <= SPAN_MS_MAX else None


def span_words(ms: int) -> str:
    """A span as it is written in the largest unit that divides it.

    >>> span_words(1_800_000), span_words(86_400_000), span_words(1500)
    ('30 min', '24 h', '1.5 s')
    """
    if ms % DAY_MS == 0 and ms > DAY_MS:
        return f"{ms // DAY_MS} d"
    for unit, unit_ms in (("h", HOUR_MS), ("min", MINUTE_MS), ("s", 1000)):
        if ms % unit_ms == 0:
            return f"{ms // unit_ms} {unit}"
    return f"{ms / 1000:g} s"


def share_micros(text: str) -> int | None:
    """A share in millionths, None where it is none.

    >>> share_micros("10 %"), share_micros("0.5%"), share_micros("a tenth")
    (100000, 5000, None)
    """
    found = _SHARE.fullmatch(text.strip())
    if found is None:
        return None
    micros = int(Decimal(found[1]) * 10_000)
    return micros if micros <= MICROS else None


def _up(number: Decimal) -> int:
    return int(number.to_integral_value(ROUND_CEILING))


def _down(number: Decimal) -> int:
    return int(number.to_integral_value(ROUND_FLOOR))
