"""A JSON object as its sender laid it out, read field by field; what is wrong names its place.

What an event stands on (ids, times, money, items) is strict: a wrong value is a `BadFieldError`. What
only surrounds it (names, pages, campaigns) is lenient: a wrong value is as if it were not there.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from operators.decode import stable_event_id
from operators.rules import CLOCK_SKEW_MS, EARLIEST_MS, FUTURE_MS, usable_id
from state.events import (
    EVENT_ID_CHARS_MAX,
    MONEY_MAX,
    SHOPPER_ID_CHARS_MAX,
    Campaign,
    Item,
    Page,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.deadletters import FailureType

PIECES_MAX = 1_000_000
POSITION_MAX = 1_000_000
NAME_CHARS_MAX = 200
NOT_SET = frozenset({"", "(not set)", "(none)", "(direct)", "$direct"})
"""What stands for nothing in a text, besides null."""

PURPOSES = {
    "analytics": "analytics",
    "performance": "analytics",
    "statistics": "analytics",
    "c0002": "analytics",
    "personalization": "personalization",
    "functional": "personalization",
    "preferences": "personalization",
    "c0003": "personalization",
    "advertising": "ads",
    "marketing": "ads",
    "targeting": "ads",
    "c0004": "ads",
}
"""Consent categories by name: a shop names its own, these are what consent tools begin with."""

_CATEGORY_PARTS = re.compile(r"[/>]")
_SPACES = re.compile(r"[\W_]+")


class BadFieldError(Exception):
    """Raised by an adapter: this is no event, because of what stands at this path."""

    def __init__(self, failure_type: FailureType, path: str, message: str) -> None:
        super().__init__(message)
        self.finding = (failure_type, path, message)


class Fields:
    """An object of a record and its path in it; an empty one where there is no such object."""

    __slots__ = ("path", "values")

    def __init__(self, values: object, path: str = "$") -> None:
        self.values: dict[str, Any] = values if isinstance(values, dict) else {}
        self.path = path

    def at(self, name: str) -> str:
        """The path of a field."""
        return f"{self.path}.{name}"

    def inner(self, name: str) -> Fields:
        """An object inside."""
        return Fields(self.values.get(name), f"{self.path}.{name}")

    def first(self, name: str) -> Fields:
        """The first object of an array inside."""
        found = self.values.get(name)
        inside = found[0] if isinstance(found, list) and found else None
        return Fields(inside, f"{self.path}.{name}[0]")

    def many(self, name: str) -> list[Fields]:
        """The objects of an array inside; none where it is absent or null."""
        found = self.values.get(name)
        if found is None:
            return []
        if not isinstance(found, list):
            raise BadFieldError("schema_violation", self.at(name), "expected an array of objects")
        for n, one in enumerate(found):
            if not isinstance(one, dict):
                raise BadFieldError(
                    "schema_violation", f"{self.at(name)}[{n}]", "expected an object"
                )
        return [Fields(one, f"{self.at(name)}[{n}]") for n, one in enumerate(found)]

    def text(self, *names: str) -> str | None:
        """The first of these that says something."""
        for name in names:
            value = self.values.get(name)
            if type(value) is int:
                return str(value)
            if isinstance(value, str) and (trimmed := value.strip()) not in NOT_SET:
                return trimmed
        return None

    def flag(self, name: str) -> bool | None:
        """A boolean."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else None

    def identifier(self, name: str) -> str | None:
        """An id, text or a whole number; None where it is absent, null or says nothing."""
        value = self.values.get(name)
        if value is None:
            return None
        if type(value) is int:
            value = str(value)
        if not isinstance(value, str):
            raise BadFieldError("schema_violation", self.at(name), "expected text")
        if len(value) > SHOPPER_ID_CHARS_MAX:
            message = f"{len(value)} characters; at most {SHOPPER_ID_CHARS_MAX}"
            raise BadFieldError("schema_violation", self.at(name), message)
        trimmed = value.strip()
        return None if trimmed in NOT_SET else trimmed

    def order_id(self, name: str, *, needed: bool) -> str | None:
        """The id of an order; where it is `needed`, it must say something."""
        found = self.identifier(name)
        if found is None and needed:
            raise BadFieldError("empty_order_id", self.at(name), "an order needs its id")
        return found

    def number(self, name: str) -> float | None:
        """A finite number, or text of one; None where it is absent, null or empty."""
        value = self.values.get(name)
        if value is None or value == "":
            return None
        try:
            if isinstance(value, bool):
                raise ValueError
            found = float(value)
            if not isfinite(found):
                raise ValueError
        except (TypeError, ValueError, OverflowError):
            raise BadFieldError(
                "bad_money", self.at(name), f"not a number: {value!r:.40}"
            ) from None
        return found

    def money(self, name: str) -> float | None:
        """An amount of money, not negative."""
        found = self.number(name)
        return None if found is None else in_range(found, self.at(name))

    def net(self, gross: str, *included: str) -> float | None:
        """An amount less what is included in it (tax, shipping); None without the amount."""
        found = self.money(gross)
        if found is None:
            return None
        rest = found - sum(self.money(name) or 0.0 for name in included)
        return in_range(round(rest, 6), self.at(gross))

    def pieces(self, name: str) -> int:
        """How many; 1 where it is not told."""
        value = self.values.get(name)
        if value is None or value == "":
            return 1
        try:
            found = float(value)
        except (TypeError, ValueError, OverflowError):
            found = 0.0
        if isinstance(value, bool) or not 1 <= found <= PIECES_MAX or found != int(found):
            message = f"{value!r:.40} pieces; expected a whole number of at least 1"
            raise BadFieldError("schema_violation", self.at(name), message)
        return int(found)

    def position(self, name: str) -> int | None:
        """A place in a list."""
        value = self.values.get(name)
        try:
            found = int(value) if isinstance(value, int | float | str) else -1
        except (ValueError, OverflowError):
            return None
        return found if 0 <= found <= POSITION_MAX else None

    def category(self, *names: str) -> tuple[str, ...]:
        """A category as a path: `Home/Kitchen`, `Home > Kitchen`, an array, or a field each part."""
        parts: list[str] = []
        for name in names:
            value = self.values.get(name)
            if value is None:
                continue
            texts = value if isinstance(value, list) else [value]
            for text in texts:
                if isinstance(text, str):
                    parts += (part.strip() for part in _CATEGORY_PARTS.split(text))
        return tuple(part for part in parts if part not in NOT_SET)

    def iso_ms(self, name: str) -> int | None:
        """A date and time as ISO text, UTC unless it says otherwise, in ms since 1970."""
        value = self.values.get(name)
        if value is None or value == "":
            return None
        try:
            at = datetime.fromisoformat(value)
            return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)
        except (TypeError, ValueError, OverflowError):
            raise BadFieldError(
                "bad_timestamp", self.at(name), f"not a date and time: {value!r:.40}"
            ) from None

    def micros_ms(self, name: str) -> int | None:
        """Microseconds since 1970, a whole number or text of one, in ms."""
        value = self.values.get(name)
        if value is None or value == "":
            return None
        try:
            if isinstance(value, bool):
                raise ValueError
            return int(value) // 1000
        except (TypeError, ValueError, OverflowError):
            raise BadFieldError(
                "bad_timestamp", self.at(name), f"not a whole number of microseconds: {value!r:.40}"
            ) from None


class Told(NamedTuple):
    """What is known of an event besides its own fields: an id for it if it has none, the clock, and
    when its record came in (0: not known). Times in ms."""

    event_id: str
    now_ms: int
    received_ms: int

    def id_of(self, fields: Fields, *names: str) -> str:
        """The first of these ids that is there, else a stable one."""
        for name in names:
            if (found := fields.text(name)) is not None:
                return found if len(found) <= EVENT_ID_CHARS_MAX else stable_event_id(name, found)
        return self.event_id


def in_range(amount: float, path: str) -> float:
    """The amount, if it is one that an order can have."""
    if not 0 <= amount <= MONEY_MAX:
        message = f"{amount!r:.40} is not between 0 and {MONEY_MAX:.0f}"
        raise BadFieldError("bad_money", path, message)
    return amount


def plain(text: str) -> str:
    """A name without regard to case and separators.

    >>> plain("Product Viewed"), plain("product_viewed"), plain("$pageview")
    ('product viewed', 'product viewed', 'pageview')
    """
    return _SPACES.sub(" ", text).strip().lower()


def who(
    anonymous: Sequence[tuple[Fields, str]], users: Sequence[tuple[Fields, str]]
) -> tuple[str | None, str | None]:
    """The first usable anonymous id and the first usable user id, each from fields in this order."""
    blocked: list[tuple[str, str]] = []

    def first(places: Sequence[tuple[Fields, str]]) -> str | None:
        for fields, name in places:
            found = fields.identifier(name)
            if found is None:
                continue
            if (usable := usable_id(found)) is not None:
                return usable
            blocked.append((fields.at(name), found))
        return None

    anonymous_id, user_id = first(anonymous), first(users)
    if anonymous_id is None and user_id is None:
        if blocked:
            path, found = blocked[0]
            raise BadFieldError("blocked_id", path, f"{found[:100]!r} stands for nobody")
        names = " nor ".join(name for _, name in (*anonymous, *users))
        raise BadFieldError("no_identity", "$", f"neither {names}")
    return anonymous_id, user_id


def checked_ms(at_ms: int, path: str, now_ms: int) -> int:
    """The time, if an event can have it."""
    if at_ms < EARLIEST_MS:
        raise BadFieldError("bad_timestamp", path, "before 2000")
    if at_ms > now_ms + FUTURE_MS:
        raise BadFieldError("bad_timestamp", path, "more than 24 h ahead of the clock")
    return at_ms


def event_times(
    fields: Fields, *, original: str, sent: str, received: str, corrected: str, told: Told
) -> tuple[int, int]:
    """When it happened and when it was received (0: not told), in ms, from the names of ISO fields.

    `received - (sent - original)` takes what the clock of the device is wrong out of it. Where one
    of the three is missing it is what the collector `corrected` by itself, else what the device
    said, else when it was received or sent, else when its record came in.
    """
    received_ms, sent_ms, original_ms = map(fields.iso_ms, (received, sent, original))
    if received_ms is not None:
        checked_ms(received_ms, fields.at(received), told.now_ms)
    if original_ms is not None and sent_ms is not None and received_ms is not None:
        happened_ms = received_ms - (sent_ms - original_ms)
    else:
        known = (fields.iso_ms(corrected), original_ms, received_ms, sent_ms, told.received_ms)
        happened_ms = next((ms for ms in known if ms), 0)
    if not happened_ms:
        raise BadFieldError("bad_timestamp", fields.at(original), "no time is told")
    if received_ms is not None:
        happened_ms = min(happened_ms, received_ms + CLOCK_SKEW_MS)
    return checked_ms(happened_ms, fields.at(original), told.now_ms), received_ms or 0


def item(
    fields: Fields,
    ids: Sequence[str],
    *,
    category: Sequence[str],
    brand: str,
    name: str,
    price: str,
    position: str,
    counted: bool,
    available: bool | None = None,
) -> Item:
    """An item from the names of its fields; its quantity only where pieces are `counted`."""
    item_id = next((found for one in ids if (found := fields.identifier(one))), None)
    if item_id is None:
        raise BadFieldError("schema_violation", fields.at(ids[0]), "an item needs an id")
    return Item(
        item_id=item_id,
        category=fields.category(*category),
        brand=fields.text(brand),
        name=fields.text(name),
        price=fields.money(price),
        quantity=fields.pieces("quantity") if counted else 1,
        position=fields.position(position),
        available=available,
    )


def custom_props(name: str) -> msgspec.Raw:
    """What is kept of an event that has no type of its own: its name."""
    return msgspec.Raw(msgspec.json.encode({"event": name[:NAME_CHARS_MAX]}))


def page(*told: Fields, url: str, path: str, referrer: str, title: Sequence[str]) -> Page | None:
    """Where it happened, each part from the first that tells it."""
    if not any(one.values for one in told):
        return None

    def first(*names: str) -> str | None:
        return next((found for one in told if (found := one.text(*names))), None)

    found = Page(url=first(url), path=first(path), referrer=first(referrer), title=first(*title))
    return None if found == Page() else found


def campaign(told: Fields, *, prefix: str = "", name: str = "name") -> Campaign | None:
    """What brought the shopper, from names that begin with `prefix`; its own is called `name`."""
    if not told.values:
        return None
    found = Campaign(
        source=told.text(f"{prefix}source"),
        medium=told.text(f"{prefix}medium"),
        name=told.text(name),
        term=told.text(f"{prefix}term"),
        content=told.text(f"{prefix}content"),
    )
    return None if found == Campaign() else found


def lower(text: str | None) -> str | None:
    """A word without regard to case."""
    return text.lower() if text else None


def upper(text: str | None) -> str | None:
    """A code without regard to case."""
    return text.upper() if text else None
