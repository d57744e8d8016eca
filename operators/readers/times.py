"""Times as senders write them, to ms since 1970. A text that could mean two times is not read.

What may be changed: more ways to write a time, if each has one meaning only.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_ZONE = re.compile(r"\s*(?:UTC|GMT|Z)\s*$", re.IGNORECASE)
_NUMBER = re.compile(r"\d{9,20}(\.\d+)?", re.ASCII)
_UNITS_PER_S = (1, 1000, 1_000_000, 1_000_000_000)
"""Seconds, ms, microseconds, nanoseconds. Between 2000 and 2128 no number is a time in two of them."""
_FIRST_S, _LAST_S = 946_684_800, 5_000_000_000


def parse_time_ms(text: str) -> int | None:
    """A date and time in ms since 1970, UTC unless it has a zone; None where the text is none.

    `2026-03-01T10:00:00Z`, `2026-03-01 10:00:00.123 UTC` as BigQuery writes it, or a number of
    seconds, ms, microseconds or nanoseconds since 1970: its size tells which.

    >>> parse_time_ms("2019-10-01 00:00:01 UTC"), parse_time_ms("1569888001"), parse_time_ms("soon")
    (1569888001000, 1569888001000, None)
    """
    text = text.strip()
    if text[4:5] != "-" and _NUMBER.fullmatch(text):
        return epoch_number_ms(float(text) if "." in text else int(text))
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            at = datetime.fromisoformat(_ZONE.sub("", text))
        except ValueError:
            return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    try:
        return round((at - _EPOCH) / _MS)
    except OverflowError:
        return None


def epoch_number_ms(number: float) -> int | None:
    """A time from a number since 1970, whose size tells its unit; None where it fits none.

    >>> epoch_number_ms(1569888001), epoch_number_ms(1569888001000), epoch_number_ms(12)
    (1569888001000, 1569888001000, None)
    """
    for units in _UNITS_PER_S:
        if _FIRST_S * units <= number < _LAST_S * units:
            if isinstance(number, int):
                return number * 1000 // units
            return round(number * 1000 / units)
    return None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
