"""Times as senders write them, to ms since 1970: what can be read in one way only is read.

Change freely: more ways to write a time, as long as each can mean one moment only.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_ZONE = re.compile(r"\s*(?:UTC|GMT|Z)\s*$", re.IGNORECASE)
_NUMBER = re.compile(r"\d{9,20}(\.\d+)?", re.ASCII)
_UNITS_PER_S = (1, 1000, 1_000_000, 1_000_000_000)
"""Seconds, ms, microseconds, nanoseconds: between 2000 and 2128 no number can be of two of them."""
_FIRST_S, _LAST_S = 946_684_800, 5_000_000_000


def parse_time_ms(text: str) -> int | None:
    """A date and time, UTC unless it says otherwise; None where it is none.

    `2026-03-01T10:00:00Z`, `2026-03-01 10:00:00.123 UTC` as BigQuery writes it, or a number of
    seconds, ms, microseconds or nanoseconds since 1970, told apart by its size.

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
    """A number since 1970 whose unit its size tells; None where it fits none.

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
