"""Amounts, spans of time and shares as people write them: `at least 3`, `30 min`, `10 %`.

What may be changed: more ways to write the same. Times are in ms, money and shares in millionths.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING

import msgspec

from state.money import MICROS_PER_UNIT
from state.times import DAY_MS, HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

COUNT, MONEY, DAYS, MINUTES, SHARE = 1, MICROS_PER_UNIT, DAY_MS, MINUTE_MS, MICROS_PER_UNIT
"""What a written 1 is in the unit in which features and windows are kept."""

DURATION_MS_MAX = 3650 * DAY_MS

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
_OPERATOR_AND_NUMBER = re.compile(
    rf"({'|'.join(map(re.escape, sorted(_OPERATORS, key=len, reverse=True)))})\s*({_NUMBER})"
)
_BETWEEN = re.compile(rf"between\s+({_NUMBER})\s+and\s+({_NUMBER})")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)")
_UNITS_MS = {
    **dict.fromkeys(("s", "second", "seconds"), 1000),
    **dict.fromkeys(("min", "minute", "minutes"), MINUTE_MS),
    **dict.fromkeys(("h", "hour", "hours"), HOUR_MS),
    **dict.fromkeys(("d", "day", "days"), DAY_MS),
    **dict.fromkeys(("w", "week", "weeks"), 7 * DAY_MS),
}
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class Bounds(msgspec.Struct, frozen=True):
    """A range of whole numbers, both ends included; `words` is how it reads (`at least 3`)."""

    low: int | None
    high: int | None
    words: str

    def contains(self, number: int) -> bool:
        """Whether a number is in the range."""
        if self.low is not None and number < self.low:
            return False
        return self.high is None or number <= self.high


def parse_bounds(text: str, unit: int) -> Bounds | None:
    """The range that a text names; None where it names none, as half a purchase.

    >>> parse_bounds("at least 3", COUNT), parse_bounds("> 9.5", MONEY).low, parse_bounds("three", COUNT)
    (Bounds(low=3, high=None, words='at least 3'), 9500001, None)
    """
    if parsed := _BETWEEN.fullmatch(text):
        low, high = (Decimal(number) * unit for number in parsed.groups())
        if _round_up(low) > _round_down(high):
            return None
        words = f"between {parsed[1]} and {parsed[2]}"
        return Bounds(_round_up(low), _round_down(high), words)
    parsed = _OPERATOR_AND_NUMBER.fullmatch(text)
    if parsed is None:
        return None
    operator, number = _OPERATORS[parsed[1]], Decimal(parsed[2]) * unit
    words = f"{operator} {parsed[2]}"
    match operator:
        case "at least":
            return Bounds(_round_up(number), None, words)
        case "at most":
            return Bounds(None, _round_down(number), words)
        case "more than":
            return Bounds(_round_down(number) + 1, None, words)
        case "less than":
            return Bounds(None, _round_up(number) - 1, words)
    return (
        Bounds(_round_up(number), _round_down(number), words)
        if _round_up(number) == _round_down(number)
        else None
    )


def parse_duration_ms(text: str) -> int | None:
    """A span of time in ms; None where the text is none or the span is longer than ten years.

    >>> [parse_duration_ms(text) for text in ("30 min", "1.5 h", "60d", "soon")]
    [1800000, 5400000, 5184000000, None]
    """
    parsed = _DURATION.fullmatch(text.strip().lower())
    if parsed is None or parsed[2] not in _UNITS_MS:
        return None
    ms = int(Decimal(parsed[1]) * _UNITS_MS[parsed[2]])
    return ms if 0 < ms <= DURATION_MS_MAX else None


def format_duration(ms: int) -> str:
    """A span of time in the largest unit that divides it.

    >>> format_duration(1_800_000), format_duration(86_400_000), format_duration(1500)
    ('30 min', '24 h', '1.5 s')
    """
    if ms % DAY_MS == 0 and ms > DAY_MS:
        return f"{ms // DAY_MS} d"
    for unit, unit_ms in (("h", HOUR_MS), ("min", MINUTE_MS), ("s", 1000)):
        if ms % unit_ms == 0:
            return f"{ms // unit_ms} {unit}"
    return f"{ms / 1000:g} s"


def parse_share_micros(text: str) -> int | None:
    """A share in millionths; None where the text is no share.

    >>> parse_share_micros("10 %"), parse_share_micros("0.5%"), parse_share_micros("a tenth")
    (100000, 5000, None)
    """
    parsed = _SHARE.fullmatch(text.strip())
    if parsed is None:
        return None
    micros = int(Decimal(parsed[1]) * 10_000)
    return micros if micros <= MICROS_PER_UNIT else None


def _round_up(number: Decimal) -> int:
    return int(number.to_integral_value(ROUND_CEILING))


def _round_down(number: Decimal) -> int:
    return int(number.to_integral_value(ROUND_FLOOR))
