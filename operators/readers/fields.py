"""A JSON object of a record, read field by field; errors name the path of the field.

An order is never lost for a side detail: a value that cannot be read counts as missing, and its
field is noted (`unreadable`, `Event.left_out`), so that such values are counted. Only a value that
an event cannot do without (shopper, time, order, amount) raises `BadFieldError`.
"""

from __future__ import annotations

import re
from typing import Any

from operators.events.validation import normalize_id
from operators.readers.numbers import parse_number
from operators.readers.times import epoch_number_ms, parse_time_ms
from operators.readers.values import BadFieldError, check_amount, format_number
from state.events import ORDER_ID_CHARS_MAX, SHOPPER_ID_CHARS_MAX

POSITION_MAX = 1_000_000
EMPTY_TEXTS = frozenset({"", "(not set)", "(none)", "(direct)", "$direct"})
"""Texts that stand for no value, as null does."""
FLAG_TEXTS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

CATEGORY_SEPARATOR = re.compile(r"[/>]")
_ARRAY_INDEXES = re.compile(r"\[\d+\]")
REPLACEMENT_CHAR = "\ufffd"
"""Is in a text whose bytes were damaged: an id with it could be several."""


class Fields:
    """An object of a record and its path; it is empty where the record has no such object.

    `unreadable` are the paths of values that could not be read, without indexes of arrays; all
    objects of a record share it.
    """

    __slots__ = ("path", "unreadable", "values")

    def __init__(
        self, values: object, path: str = "$", unreadable: dict[str, None] | None = None
    ) -> None:
        self.values: dict[str, Any] = values if isinstance(values, dict) else {}
        self.path = path
        self.unreadable: dict[str, None] = {} if unreadable is None else unreadable

    def path_of(self, name: str) -> str:
        """The path of a field, as errors name it."""
        return f"{self.path}.{name}"

    def note_unreadable(self, name: str) -> None:
        """Note that the value of a field, or of an element of an array, cannot be read."""
        self.unreadable[_ARRAY_INDEXES.sub("[]", self.path_of(name))] = None

    def has(self, name: str) -> bool:
        """Whether a field has a value. False, an empty text or array, as PHP and forms send them,
        is none."""
        value = self.values.get(name)
        return bool(value) or type(value) in (int, float)

    def child(self, name: str) -> Fields:
        """An object inside this one."""
        value = self.values.get(name)
        if value is not None and not isinstance(value, dict) and self.has(name):
            self.note_unreadable(name)
        return Fields(value, f"{self.path}.{name}", self.unreadable)

    def first_child(self, name: str) -> Fields:
        """The first object of an array inside this one."""
        return next(
            iter(self.children(name)), Fields(None, f"{self.path}.{name}[0]", self.unreadable)
        )

    def children(self, name: str) -> list[Fields]:
        """The objects of an array inside this one; none where it is absent or null.

        An array that was sent as an object is read too: one with numbers for names, as PHP sends an
        array with gaps, or its only element.
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
        """The first of these texts that is not empty."""
        for name in names:
            value = self.values.get(name)
            if isinstance(value, str):
                if (trimmed := value.strip()) not in EMPTY_TEXTS:
                    return trimmed
            elif (number := format_number(value)) is not None:
                return number
            elif value is not None and self.has(name):
                self.note_unreadable(name)
        return None

    def flag(self, name: str) -> bool | None:
        """A boolean, or a text or number that stands for one."""
        value = self.values.get(name)
        answer = FLAG_TEXTS.get(str(value).strip().lower())
        if answer is None and self.has(name):
            self.note_unreadable(name)
        return answer

    def identifier(self, name: str, *, is_person: bool = False) -> str | None:
        """An id: text or a whole number; None where it is absent, empty or cannot be an id.

        A number with a decimal point is no id of a person: it may have lost digits, and an event that
        counts for somebody else is worse than one that counts for nobody.
        """
        value = self.values.get(name)
        if value is None or not self.has(name):
            return None
        is_whole = type(value) is int or (
            not is_person and isinstance(value, float) and value.is_integer()
        )
        text = value.strip() if isinstance(value, str) else format_number(value)
        if text is None or not (isinstance(value, str) or is_whole) or REPLACEMENT_CHAR in text:
            self.note_unreadable(name)
            return None
        return None if text in EMPTY_TEXTS else text

    def order_id(self, name: str, *, needed: bool) -> str | None:
        """The id of an order. Raises BadFieldError where it is `needed` and there is no good one."""
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
        """The first of these ids that can be the id of an item."""
        for name in names:
            item_id = self.identifier(name)
            if item_id is not None and len(item_id) <= SHOPPER_ID_CHARS_MAX:
                return item_id
            if item_id is not None:
                self.note_unreadable(name)
        return None

    def number(self, name: str) -> float | None:
        """A finite number, or a text with one meaning only; None where it is absent. Raises
        BadFieldError."""
        value = self.values.get(name)
        if value is None or not self.has(name):
            return None
        number = parse_number(value)
        if number is None:
            message = f"not a number: {value!r:.40}"
            raise BadFieldError("bad_money", self.path_of(name), message)
        return number

    def amount(self, name: str, *, is_refund: bool = False) -> float | None:
        """What an order is worth or a refund gives back; None where it is absent.

        A negative amount counts as 0; the amount of a refund counts as positive.
        """
        amount = self.number(name)
        return None if amount is None else self._check_not_negative(name, amount, is_refund)

    def net_amount(self, gross: str, *included: str, is_refund: bool = False) -> float | None:
        """An amount as `amount` reads it, less what is included in it (tax, shipping)."""
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
        """A number, 0 where it is absent or cannot be read."""
        try:
            return self.number(name) or 0.0
        except BadFieldError:
            self.note_unreadable(name)
            return 0.0

    def position(self, name: str) -> int | None:
        """A position in a list."""
        value = self.values.get(name)
        if value is None or not self.has(name):
            return None
        position = parse_number(value)
        if position is None or not 0 <= position <= POSITION_MAX:
            # `(not set)` in an export is not a mistake of the sender.
            if not (isinstance(value, str) and value.strip() in EMPTY_TEXTS):
                self.note_unreadable(name)
            return None
        return int(position)

    def category(self, *names: str) -> tuple[str, ...]:
        """A category as a path: `Home/Kitchen`, `Home > Kitchen`, an array, or a field for each part."""
        parts: list[str] = []
        for name in names:
            if not self.has(name):
                continue
            value = self.values[name]
            for element in value if isinstance(value, list) else [value]:
                text = element if isinstance(element, str) else format_number(element)
                if text is None:
                    self.note_unreadable(name)
                else:
                    parts += (part.strip() for part in CATEGORY_SEPARATOR.split(text))
        return tuple(part for part in parts if part not in EMPTY_TEXTS)

    def time_ms(self, name: str) -> int | None:
        """A date and time, in ms since 1970; UTC unless it has a zone. Raises BadFieldError."""
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
        """A time in microseconds since 1970, as ms. Raises BadFieldError."""
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
