"""Numbers as people write them. A text that could mean two numbers is not read.

What may be changed: more ways to write a number, if each has one meaning only.
"""

from __future__ import annotations

import re
from math import isfinite

CHARS_MAX = 40

_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?([eE][+-]?\d{1,3})?|\.\d+)", re.ASCII)
_CURRENCY = r"(?:[A-Z]{3}|[$€£¥₹₽₺₩₫฿₪₴])?"
_AMOUNT = re.compile(rf"(-?){_CURRENCY} ?(-?)(\d[\d.,' ]*) ?{_CURRENCY}", re.ASCII)
_SPACES = re.compile(r"\s+")

_COMMA_GROUPS = re.compile(r"\d{1,3}(,\d{2,3})*,\d{3}\.\d+|\d{1,3}(,\d{2,3})+,\d{3}", re.ASCII)
"""Commas separate thousands: a point follows, or there is more than one comma."""
_POINT_GROUPS = re.compile(r"\d{1,3}(\.\d{3})+,\d+|\d{1,3}(\.\d{3}){2,}", re.ASCII)
"""Points separate thousands: a comma follows, or there is more than one point."""
_SPACE_GROUPS = re.compile(r"\d{1,3}([ ']\d{3})+([.,]\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"\d+,(\d{1,2}|\d{4,})|(0\d*|\d{4,}),\d{3}", re.ASCII)
"""A comma before the decimals. Before three digits it is read so only where it cannot separate
thousands."""


def parse_number(value: object) -> float | None:
    """A finite number, from a number or a text with one meaning only; None for everything else.

    >>> [parse_number(text) for text in ("4,245.42", "4.245,42", "12,5", "€ 1 234,50", 7)]
    [4245.42, 4245.42, 12.5, 1234.5, 7.0]
    >>> [parse_number(text) for text in ("1,234", "1.2.3", "ten", True, float("inf"))]
    [None, None, None, None, None]
    """
    if isinstance(value, str):
        value = _normalize(value)
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def _normalize(text: str) -> str | None:
    """The text as `float` reads it; None where it is no number or could be two."""
    text = _SPACES.sub(" ", text.replace("\u2212", "-").replace("\u2019", "'")).strip()
    if len(text) > CHARS_MAX:
        return None
    if _PLAIN.fullmatch(text):
        return text
    parsed = _AMOUNT.fullmatch(text)
    if parsed is None or (parsed[1] and parsed[2]):
        return None
    sign, digits = parsed[1] or parsed[2], parsed[3].strip()
    if _PLAIN.fullmatch(digits):
        return sign + digits
    if _COMMA_GROUPS.fullmatch(digits):
        return sign + digits.replace(",", "")
    if _POINT_GROUPS.fullmatch(digits):
        return sign + digits.replace(".", "").replace(",", ".")
    if _SPACE_GROUPS.fullmatch(digits):
        return sign + digits.replace(" ", "").replace("'", "").replace(",", ".")
    return sign + digits.replace(",", ".") if _DECIMAL_COMMA.fullmatch(digits) else None
