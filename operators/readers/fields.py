"""A JSON object as its sender laid it out, read field by field; what is wrong names its place.

An order is never lost for a side detail: what cannot be read of a field is as if it were not there,
and is noted (`left_out`), so that it is counted by field. Only what an event cannot do without
(who, when, which order, what it is worth) is a `BadFieldError`.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, Any

from operators.events.validation import EARLIEST_MS, FUTURE_MS, normalize_id
from operators.readers.numbers import parse_number
from operators.readers.times import epoch_number_ms, parse_time_ms
from state.events import MONEY_MAX, ORDER_ID_CHARS_MAX, SHOPPER_ID_CHARS_MAX

if TYPE_CHECKING:
    from state.dead_letters import FailureType

POSITION_MAX = 1_000_000
EXACT_INTEGER_MAX = 2**53
"""A number with a decimal point up to here is the whole number it says."""
EMPTY_TEXTS = frozenset({"", "(not set)", "(none)", "(direct)", "$direct"})
"""What stands for nothing in a text, besides null."""
FLAG_TEXTS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

_CATEGORY_SEPARATOR = re.compile(r"[/>]")
_WORD_SEPARATORS = re.compile(r"[\W_]+")
_ARRAY_INDEXES = re.compile(r"\[\d+\]")
_REPLACEMENT_CHAR = "\ufffd"
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

    __slots__ = ("path", "unreadable", "values")

    def __init__(
        self, values: object, path: str = "$", left_out: dict[str, None] | None = None
    ) -> None:
        self.values: dict[str, Any] = values if isinstance(values, dict) else {}
        self.path = path
        self.unreadable: dict[str, None] = {} if left_out is None else left_out

    def path_of(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}"

    def note_unreadable(self, name: str) -> None:
        """Note that a field, or one of an array, cannot be read."""
        self.unreadable[_ARRAY_INDEXES.sub("[]", self.path_of(name))] = None

    def has(self, name: str) -> bool:
        """Whether something stands there: what PHP and forms send for nothing is nothing."""
        value = self.values.get(name)
        return bool(value) or type(value) in (int, float)

    def child(self, name: str) -> Fields:
        """An object inside."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict) and self.has(name):
            self.note_unreadable(name)
        return Fields(value, f"{self.path}.{name}", self.unreadable)

    def first_child(self, name: str) -> Fields:
        """The first object of an array inside."""
        return next(
            iter(self.children(name)), Fields(None, f"{self.path}.{name}[0]", self.unreadable)
        )

    def children(self, name: str) -> list[Fields]:
        """The objects of an array inside; none where it is absent or null.

        An array that came as an object is read too: with numbers for names, as PHP sends one with
        gaps, or the only element of it.
        """
        values = self.values.get(name)
        if isinstance(values, dict) and values:
            is_indexed = all(key.isdigit() for key in values)
            values = list(values.values()) if is_indexed else [values]
        if not isinstance(values, list):
            if self.has(name):
                self.note_unreadable(name)
            return []
        objects = []
        for n, element in enumerate(values):
            if isinstance(element, dict):
                objects.append(Fields(element, f"{self.path_of(name)}[{n}]", self.unreadable))
            else:
                self.note_unreadable(f"{name}[{n}]")
        return objects

    def text(self, *names: str) -> str | None:
        """The first of these that says something."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, str):
                if (trimmed := value.strip()) not in EMPTY_TEXTS:
                    return trimmed
            elif (number := _format_number(value)) is not None:
                return number
            elif value is not None and self.has(name):
                self.note_unreadable(name)
        return None

    def flag(self, name: str) -> bool | None:
        """A boolean, or a word or number for one."""
        value = self.values.get(name)
        answer = FLAG_TEXTS.get(str(value).strip().lower())
        if answer is None and self.has(name):
            self.note_unreadable(name)
        return answer

    def identifier(self, name: str, *, is_person: bool = False) -> str | None:
        """An id, text or a whole number; None where it is absent, says nothing or cannot be one.

        Of a person a number with a decimal point is none: it may have lost digits, and to be taken
        for somebody else is worse than to be nobody.
        """
        value = self.values.get(name)
        if value is None or not self.has(name):
            return None
        is_whole = type(value) is int or (
            not is_person and isinstance(value, float) and value.is_integer()
        )
        text = value.strip() if isinstance(value, str) else _format_number(value)
        if text is None or not (isinstance(value, str) or is_whole) or _REPLACEMENT_CHAR in text:
            self.note_unreadable(name)
            return None
        return None if text in EMPTY_TEXTS else text

    def order_id(self, name: str, *, needed: bool) -> str | None:
        """The id of an order; where it is `needed`, it must say something."""
        order_id = self.identifier(name)
        if order_id is not None and len(order_id) > ORDER_ID_CHARS_MAX:
            message = f"{len(order_id)} characters; at most {ORDER_ID_CHARS_MAX}"
            if needed:
                raise BadFieldError("schema_violation", self.path_of(name), message)
            self.note_unreadable(name)
            return None
        if order_id is not None and normalize_id(order_id) is None:
            order_id = None
        if order_id is None and needed:
            raise BadFieldError("empty_order_id", self.path_of(name), "an order needs its id")
        return order_id

    def item_id(self, *names: str) -> str | None:
        """The first of these ids that an item can have."""
        for name in names:
            item_id = self.identifier(name)
            if item_id is not None and len(item_id) <= SHOPPER_ID_CHARS_MAX:
                return item_id
            if item_id is not None:
                self.note_unreadable(name)
        return None

    def number(self, name: str) -> float | None:
        """A finite number, or text that can mean one only; None where it is absent or empty."""
        value = self.values.get(name)
        if value is None or not self.has(name):
            return None
        number = parse_number(value)
        if number is None:
            message = f"not a number: {value!r:.40}"
            raise BadFieldError("bad_money", self.path_of(name), message)
        return number

    def amount(self, name: str, *, is_refund: bool = False) -> float | None:
        """What an order is worth, or what is given back; None where it is not told.

        Less than nothing is nothing, but a refund told as a loss is a refund.
        """
        amount = self.number(name)
        return None if amount is None else self._check_not_negative(name, amount, is_refund)

    def net_amount(self, gross: str, *included: str, is_refund: bool = False) -> float | None:
        """The same of an amount less what is included in it (tax, shipping)."""
        gross_amount = self.number(gross)
        if gross_amount is None:
            return None
        net_amount = gross_amount - sum(self._number_or_zero(name) for name in included)
        return self._check_not_negative(gross, round(net_amount, 6), is_refund)

    def _check_not_negative(self, name: str, amount: float, is_refund: bool) -> float:
        if amount < 0:
            self.note_unreadable(name)
            amount = -amount if is_refund else 0.0
        return check_amount(amount, self.path_of(name))

    def _number_or_zero(self, name: str) -> float:
        """A number, 0 where it cannot be read."""
        try:
            return self.number(name) or 0.0
        except BadFieldError:
            self.note_unreadable(name)
            return 0.0

    def position(self, name: str) -> int | None:
        """A place in a list."""
        value = self.values.get(name)
        if value is None or not self.has(name):
            return None
        position = parse_number(value)
        if position is None or not 0 <= position <= POSITION_MAX:
            # `(not set)` of an export is no mistake of a sender.
            if not (isinstance(value, str) and value.strip() in EMPTY_TEXTS):
                self.note_unreadable(name)
            return None
        return int(position)

    def category(self, *names: str) -> tuple[str, ...]:
        """A category as a path: `Home/Kitchen`, `Home > Kitchen`, an array, or a field each part."""
        parts: list[str] = []
        for name in names:
            if not self.has(name):
                continue
            value = self.values[name]
            for element in value if isinstance(value, list) else [value]:
                text = element if isinstance(element, str) else _format_number(element)
                if text is None:
                    self.note_unreadable(name)
                else:
                    parts += (part.strip() for part in _CATEGORY_SEPARATOR.split(text))
        return tuple(part for part in parts if part not in EMPTY_TEXTS)

    def time_ms(self, name: str) -> int | None:
        """A date and time, UTC unless it says otherwise, in ms since 1970."""
        value = self.values.get(name)
        if value is None or not self.has(name):
            return None
        time_ms = parse_time_ms(value) if isinstance(value, str) else None
        if isinstance(value, int | float) and not isinstance(value, bool):
            time_ms = epoch_number_ms(value)
        if time_ms is None:
            message = f"not a date and time: {value!r:.40}"
            raise BadFieldError("bad_timestamp", self.path_of(name), message)
        return time_ms

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
            raise BadFieldError("bad_timestamp", self.path_of(name), message) from None


def _format_number(value: object) -> str | None:
    """A number as text, a whole one without its decimal point; None where it is no number."""
    if isinstance(value, float):
        if not isfinite(value):
            return None
        return str(int(value) if value.is_integer() and abs(value) <= EXACT_INTEGER_MAX else value)
    return str(value) if type(value) is int else None


def check_amount(amount: float, path: str) -> float:
    """The amount, if it is one that an order can have."""
    if not 0 <= amount <= MONEY_MAX:
        message = f"{amount!r:.40} is not between 0 and {MONEY_MAX:.0f}"
        raise BadFieldError("bad_money", path, message)
    return amount


def check_time_ms(at_ms: int, path: str, now_ms: int) -> int:
    """The time, if an event can have it."""
    if at_ms < EARLIEST_MS:
        raise BadFieldError("bad_timestamp", path, "before 2000")
    if at_ms > now_ms + FUTURE_MS:
        raise BadFieldError("bad_timestamp", path, "more than 24 h ahead of the clock")
    return at_ms


def normalize_name(text: str) -> str:
    """A name without regard to case and separators.

    >>> normalize_name("Product Viewed"), normalize_name("product_viewed"), normalize_name("$pageview")
    ('product viewed', 'product viewed', 'pageview')
    """
    return _WORD_SEPARATORS.sub(" ", text).strip().lower()


def lower(text: str | None) -> str | None:
    """A word without regard to case."""
    return text.lower() if text else None


def upper(text: str | None) -> str | None:
    """A code without regard to case."""
    return text.upper() if text else None
