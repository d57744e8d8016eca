"""Checks and spellings of single values: what an amount or a time may be, how names and codes are
compared."""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING

from operators.events.validation import EARLIEST_MS, FUTURE_MS
from state.events import MONEY_MAX

if TYPE_CHECKING:
    from state.dead_letters import FailureType

EXACT_INTEGER_MAX = 2**53
"""Up to here a number with a decimal point is exactly the integer that it shows."""

_WORD_SEPARATORS = re.compile(r"[\W_]+")


class BadFieldError(Exception):
    """Raised where a record cannot become an event because of the value at this path."""

    def __init__(self, failure_type: FailureType, path: str, message: str) -> None:
        super().__init__(message)
        self.violation = (failure_type, path, message)


def check_amount(amount: float, path: str) -> float:
    """The amount, if an order can have it. Raises BadFieldError."""
    if not 0 <= amount <= MONEY_MAX:
        message = f"{amount!r:.40} is not between 0 and {MONEY_MAX:.0f}"
        raise BadFieldError("bad_money", path, message)
    return amount


def check_time_ms(at_ms: int, path: str, now_ms: int) -> int:
    """The time, if an event can have it. Raises BadFieldError."""
    if at_ms < EARLIEST_MS:
        raise BadFieldError("bad_timestamp", path, "before 2000")
    if at_ms > now_ms + FUTURE_MS:
        raise BadFieldError("bad_timestamp", path, "more than 24 h ahead of the clock")
    return at_ms


def format_number(value: object) -> str | None:
    """A number as text, a whole one without a decimal point; None where the value is no number.

    >>> format_number(42.0), format_number(0.5), format_number(True)
    ('42', '0.5', None)
    """
    if isinstance(value, float):
        if not isfinite(value):
            return None
        return str(int(value) if value.is_integer() and abs(value) <= EXACT_INTEGER_MAX else value)
    return str(value) if type(value) is int else None


def normalize_name(text: str) -> str:
    """A name in lower case, with one blank between words.

    >>> [normalize_name(name) for name in ("Product Viewed", "product_viewed", "$pageview")]
    ['product viewed', 'product viewed', 'pageview']
    """
    return _WORD_SEPARATORS.sub(" ", text).strip().lower()


def lower(text: str | None) -> str | None:
    """A word in lower case."""
    return text.lower() if text else None


def upper(text: str | None) -> str | None:
    """A code in upper case."""
    return text.upper() if text else None
