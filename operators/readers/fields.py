"""A JSON object as its sender laid it out, read field by field; what is wrong names its place.

An order is never lost for a side detail: what cannot be read of a field is as if it were not there,
and is noted (`left_out`), so that it is counted by field. Only what an event cannot do without
(who, when, which order, what it is worth) is a `BadFieldError`.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from operators.events.validation import EARLIEST_MS, FUTURE_MS, usable_id
from operators.readers.numbers import read_number
from operators.readers.times import number_ms, text_ms
from state.events import MONEY_MAX, ORDER_ID_CHARS_MAX, SHOPPER_ID_CHARS_MAX

if TYPE_CHECKING:
    from state.dead_letters import FailureType

POSITION_MAX = 1_000_000
WHOLE_MAX = 2**53
"""A number with a decimal point up to here is the whole number it says."""
NOT_SET = frozenset({"", "(not set)", "(none)", "(direct)", "$direct"})
"""What stands for nothing in a text, besides null."""
ANSWERS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

_CATEGORY_PARTS = re.compile(r"[/>]")
_SPACES = re.compile(r"[\W_]+")
_PLACES = re.compile(r"\[\d+\]")
_DAMAGED = "\ufffd"
"""Stands where a part of a text was lost: of an id nobody knows then which it was."""


class BadFieldError(Exception):
    """Raised by an adapter: this is no event, because of what stands at this path."""

    def __init__(self, failure_type: FailureType, path: str, message: str) -> None:
        super().__init__(message)
        self.finding = (failure_type, path, message)


class Fields:
    """An object of a record and its path in it; an empty one where there is no such object.

    `left_out` are the paths of what could not be read, without places in arrays; all objects of a
    record share it.
    """

    __slots__ = ("left_out", "path", "values")

    def __init__(
        self, values: object, path: str = "$", left_out: dict[str, None] | None = None
    ) -> None:
        self.values: dict[str, Any] = values if isinstance(values, dict) else {}
        self.path = path
        self.left_out: dict[str, None] = {} if left_out is None else left_out

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}"

    def leave_out(self, name: str) -> None:
        """Note that a field, or one of an array, cannot be read."""
        self.left_out[_PLACES.sub("[]", self.at(name))] = None

    def has(self, name: str) -> bool:
        """Whether something stands there: what PHP and forms send for nothing is nothing."""
        value = self.values.get(name)
        return bool(value) or type(value) in (int, float)

    def inner(self, name: str) -> Fields:
        """An object inside."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict) and self.has(name):
            self.leave_out(name)
        return Fields(value, f"{self.path}.{name}", self.left_out)

    def first(self, name: str) -> Fields:
        """The first object of an array inside."""
        return next(iter(self.many(name)), Fields(None, f"{self.path}.{name}[0]", self.left_out))

    def many(self, name: str) -> list[Fields]:
        """The objects of an array inside; none where it is absent or null.

        An array that came as an object is read too: with numbers for names, as PHP sends one with
        gaps, or the only element of it.
        """
        found = self.values.get(name)
        if isinstance(found, dict) and found:
            is_array = all(key.isdigit() for key in found)
            found = list(found.values()) if is_array else [found]
        if not isinstance(found, list):
            if self.has(name):
                self.leave_out(name)
            return []
        inside = []
        for n, one in enumerate(found):
            if isinstance(one, dict):
                inside.append(Fields(one, f"{self.at(name)}[{n}]", self.left_out))
            else:
                self.leave_out(f"{name}[{n}]")
        return inside

    def text(self, *names: str) -> str | None:
        """The first of these that says something."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, str):
                if (trimmed := value.strip()) not in NOT_SET:
                    return trimmed
            elif (number := _number_text(value)) is not None:
                return number
            elif value is not None and self.has(name):
                self.leave_out(name)
        return None

    def flag(self, name: str) -> bool | None:
        """A boolean, or a word or number for one."""
        value = self.values.get(name)
        found = ANSWERS.get(str(value).strip().lower())
        if found is None and self.has(name):
            self.leave_out(name)
        return found

    def identifier(self, name: str, *, of_person: bool = False) -> str | None:
        """An id, text or a whole number; None where it is absent, says nothing or cannot be one.

        Of a person a number with a decimal point is none: it may have lost digits, and to be taken
        for somebody else is worse than to be nobody.
        """
        value = self.values.get(name)
        if value is None or not self.has(name):
            return None
        is_whole = type(value) is int or (
            not of_person and isinstance(value, float) and value.is_integer()
        )
        found = value.strip() if isinstance(value, str) else _number_text(value)
        if found is None or not (isinstance(value, str) or is_whole) or _DAMAGED in found:
            self.leave_out(name)
            return None
        return None if found in NOT_SET else found

    def order_id(self, name: str, *, needed: bool) -> str | None:
        """The id of an order; where it is `needed`, it must say something."""
        found = self.identifier(name)
        if found is not None and len(found) > ORDER_ID_CHARS_MAX:
            message = f"{len(found)} characters; at most {ORDER_ID_CHARS_MAX}"
            if needed:
                raise BadFieldError("schema_violation", self.at(name), message)
            self.leave_out(name)
            return None
        if found is not None and usable_id(found) is None:
            found = None
        if found is None and needed:
            raise BadFieldError("empty_order_id", self.at(name), "an order needs its id")
        return found

    def item_id(self, *names: str) -> str | None:
        """The first of these ids that an item can have."""
        for name in names:
            found = self.identifier(name)
            if found is not None and len(found) <= SHOPPER_ID_CHARS_MAX:
                return found
            if found is not None:
                self.leave_out(name)
        return None

    def number(self, name: str) -> float | None:
        """A finite number, or text that can mean one only; None where it is absent or empty."""
        value = self.values.get(name)
        if value is None or not self.has(name):
            return None
        found = read_number(value)
        if found is None:
            message = f"not a number: {value!r:.40}"
            raise BadFieldError("bad_money", self.at(name), message)
        return found

    def worth(self, name: str, *, is_refund: bool = False) -> float | None:
        """What an order is worth, or what is given back; None where it is not told.

        Less than nothing is nothing, but a refund told as a loss is a refund.
        """
        found = self.number(name)
        return None if found is None else self._not_below_nothing(name, found, is_refund)

    def net(self, gross: str, *included: str, is_refund: bool = False) -> float | None:
        """The same of an amount less what is included in it (tax, shipping)."""
        found = self.number(gross)
        if found is None:
            return None
        rest = found - sum(self._readable(name) for name in included)
        return self._not_below_nothing(gross, round(rest, 6), is_refund)

    def _not_below_nothing(self, name: str, amount: float, is_refund: bool) -> float:
        if amount < 0:
            self.leave_out(name)
            amount = -amount if is_refund else 0.0
        return in_range(amount, self.at(name))

    def _readable(self, name: str) -> float:
        """A number, 0 where it cannot be read."""
        try:
            return self.number(name) or 0.0
        except BadFieldError:
            self.leave_out(name)
            return 0.0

    def position(self, name: str) -> int | None:
        """A place in a list."""
        value = self.values.get(name)
        if value is None or not self.has(name):
            return None
        found = read_number(value)
        if found is None or not 0 <= found <= POSITION_MAX:
            # `(not set)` of an export is no mistake of a sender.
            if not (isinstance(value, str) and value.strip() in NOT_SET):
                self.leave_out(name)
            return None
        return int(found)

    def category(self, *names: str) -> tuple[str, ...]:
        """A category as a path: `Home/Kitchen`, `Home > Kitchen`, an array, or a field each part."""
        parts: list[str] = []
        for name in names:
            if not self.has(name):
                continue
            value = self.values[name]
            for one in value if isinstance(value, list) else [value]:
                text = one if isinstance(one, str) else _number_text(one)
                if text is None:
                    self.leave_out(name)
                else:
                    parts += (part.strip() for part in _CATEGORY_PARTS.split(text))
        return tuple(part for part in parts if part not in NOT_SET)

    def iso_ms(self, name: str) -> int | None:
        """A date and time, UTC unless it says otherwise, in ms since 1970."""
        value = self.values.get(name)
        if value is None or not self.has(name):
            return None
        found = text_ms(value) if isinstance(value, str) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            found = number_ms(value)
        if found is None:
            message = f"not a date and time: {value!r:.40}"
            raise BadFieldError("bad_timestamp", self.at(name), message)
        return found

    def micros_ms(self, name: str) -> int | None:
        """Microseconds since 1970, a whole number or text of one, in ms."""
        if not self.has(name):
            return None
        value = self.values[name]
        try:
            if isinstance(value, bool):
                raise ValueError
            return int(value) // 1000
        except (TypeError, ValueError, OverflowError):
            message = f"not a whole number of microseconds: {value!r:.40}"
            raise BadFieldError("bad_timestamp", self.at(name), message) from None


def _number_text(value: object) -> str | None:
    """A number as text, a whole one without its decimal point; None where it is no number."""
    if isinstance(value, float):
        if not isfinite(value):
            return None
        return str(int(value) if value.is_integer() and abs(value) <= WHOLE_MAX else value)
    return str(value) if type(value) is int else None


def in_range(amount: float, path: str) -> float:
    """The amount, if it is one that an order can have."""
    if not 0 <= amount <= MONEY_MAX:
        message = f"{amount!r:.40} is not between 0 and {MONEY_MAX:.0f}"
        raise BadFieldError("bad_money", path, message)
    return amount


def checked_ms(at_ms: int, path: str, now_ms: int) -> int:
    """The time, if an event can have it."""
    if at_ms < EARLIEST_MS:
        raise BadFieldError("bad_timestamp", path, "before 2000")
    if at_ms > now_ms + FUTURE_MS:
        raise BadFieldError("bad_timestamp", path, "more than 24 h ahead of the clock")
    return at_ms


def plain(text: str) -> str:
    """A name without regard to case and separators.

    >>> plain("Product Viewed"), plain("product_viewed"), plain("$pageview")
    ('product viewed', 'product viewed', 'pageview')
    """
    return _SPACES.sub(" ", text).strip().lower()


def lower(text: str | None) -> str | None:
    """A word without regard to case."""
    return text.lower() if text else None


def upper(text: str | None) -> str | None:
    """A code without regard to case."""
    return text.upper() if text else None
