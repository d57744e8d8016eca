"""Single values of usual records: as `operators.readers.fields` reads them, or `UnusualRecordError`."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from math import copysign
from typing import TYPE_CHECKING

from operators.events.sound_ids import is_sound_id
from operators.events.validation import CLOCK_SKEW_MS, EARLIEST_MS, FUTURE_MS, normalize_id
from operators.readers.fields import CATEGORY_SEPARATOR, EMPTY_TEXTS, REPLACEMENT_CHAR
from operators.readers.times import parse_time_ms
from operators.readers.values import normalize_name
from state.events import (
    EVENT_ID_CHARS_MAX,
    MONEY_MAX,
    ORDER_ID_CHARS_MAX,
    SHOPPER_ID_CHARS_MAX,
    Campaign,
    Page,
)

if TYPE_CHECKING:
    from state.events import Item

REMEMBERED_TEXTS = 8192
"""Categories and names of events: a shop has few, and they come again."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS_CHARS = len("2026-03-01T10:00:00.000Z")


class UnusualRecordError(Exception):
    """Raised where only the adapter can read a record."""


normalized_name = lru_cache(REMEMBERED_TEXTS)(normalize_name)


def text(value: str | None) -> str | None:
    """A text that says something."""
    if value is None or (trimmed := value.strip()) in EMPTY_TEXTS:
        return None
    return trimmed


def first_text(*values: str | None) -> str | None:
    """The first of these texts that says something."""
    for value in values:
        if value is not None and (trimmed := value.strip()) not in EMPTY_TEXTS:
            return trimmed
    return None


def lower_text(value: str | None) -> str | None:
    """A word in lower case."""
    return None if (word := text(value)) is None else word.lower()


def upper_text(value: str | None) -> str | None:
    """A code in upper case."""
    return None if (word := text(value)) is None else word.upper()


def person_id(*values: str | None) -> str | None:
    """The first of these ids of a shopper that is given; it must be a good one."""
    for value in values:
        if value:
            if not is_sound_id(value) or not _is_id(value, SHOPPER_ID_CHARS_MAX):
                raise UnusualRecordError
            return value
    return None


def event_id(*values: str | None) -> str:
    """The first of these ids of an event that is given."""
    given = first_text(*values)
    if given is None or len(given) > EVENT_ID_CHARS_MAX:
        raise UnusualRecordError
    return given


def item_id(*values: str | None) -> str:
    """The first of these ids of an item that is given."""
    given = first_text(*values)
    if given is None or not _is_id(given, SHOPPER_ID_CHARS_MAX):
        raise UnusualRecordError
    return given


def order_id(value: str | None, *, is_needed: bool) -> str | None:
    """The id of an order."""
    given = text(value)
    if given is None:
        if is_needed:
            raise UnusualRecordError
    elif not _is_id(given, ORDER_ID_CHARS_MAX) or normalize_id(given) is None:
        raise UnusualRecordError
    return given


def _is_id(given: str, chars_max: int) -> bool:
    return len(given) <= chars_max and given not in EMPTY_TEXTS and REPLACEMENT_CHAR not in given


def amount(value: float | None) -> float | None:
    """A price or a value, not below zero."""
    if value is None or 0 < value <= MONEY_MAX or (value == 0 and copysign(1, value) > 0):
        return value
    raise UnusualRecordError


def net_amount(gross: float | None, *included: float | None) -> float | None:
    """An amount less what is included in it."""
    if gross is None:
        return None
    return amount(round(gross - sum(part or 0.0 for part in included), 6))


@lru_cache(REMEMBERED_TEXTS)
def category_path(category: str) -> tuple[str, ...]:
    """A category as a path."""
    parts = (part.strip() for part in CATEGORY_SEPARATOR.split(category))
    return tuple(part for part in parts if part not in EMPTY_TEXTS)


def time_ms(value: str | None) -> int | None:
    """A date and time, in ms since 1970."""
    if not value:
        return None
    if len(value) == _MS_CHARS and value[-1] == "Z" and value[10] == "T":
        since = datetime.fromisoformat(value) - _EPOCH
        if since.microseconds % 1000:
            raise UnusualRecordError
        return since.days * 86_400_000 + since.seconds * 1000 + since.microseconds // 1000
    at_ms = parse_time_ms(value)
    if at_ms is None:
        raise UnusualRecordError
    return at_ms


def checked_time_ms(at_ms: int | None, now_ms: int) -> int | None:
    """A time that an event can have."""
    if at_ms is not None and not EARLIEST_MS <= at_ms <= now_ms + FUTURE_MS:
        raise UnusualRecordError
    return at_ms


def event_times(
    original: str | None,
    sent: str | None,
    received: str | None,
    corrected: str | None,
    now_ms: int,
) -> tuple[int, int]:
    """When an event happened and when it was received (0: unknown), see `event_times.py`."""
    received_ms = checked_time_ms(time_ms(received), now_ms)
    sent_ms = checked_time_ms(time_ms(sent), now_ms)
    original_ms = checked_time_ms(time_ms(original), now_ms)
    if original_ms is not None and sent_ms is not None and received_ms is not None:
        happened_ms: int | None = received_ms - (sent_ms - original_ms)
    else:
        corrected_ms = time_ms(corrected)
        happened_ms = original_ms if corrected_ms is None else corrected_ms
        if happened_ms is None:
            happened_ms = sent_ms if received_ms is None else received_ms
    if received_ms is not None and happened_ms is not None:
        checked_time_ms(happened_ms, now_ms)
        happened_ms = min(happened_ms, received_ms + CLOCK_SKEW_MS)
    if checked_time_ms(happened_ms, now_ms) is None:
        raise UnusualRecordError
    assert happened_ms is not None
    return happened_ms, received_ms or 0


def page(url: str | None, path: str | None, referrer: str | None, title: str | None) -> Page | None:
    """The page of an event, from texts that say something."""
    if url is None and path is None and referrer is None and title is None:
        return None
    return Page(url, path, referrer, title)


def campaign(
    source: str | None,
    medium: str | None,
    name: str | None,
    term: str | None,
    content: str | None,
) -> Campaign | None:
    """The campaign of an event, from texts as they are sent."""
    if source is None and medium is None and name is None and term is None and content is None:
        return None
    found = Campaign(text(source), text(medium), text(name), text(term), text(content))
    return None if found == _NO_CAMPAIGN else found


_NO_CAMPAIGN = Campaign()


def item_tuple(items: list[Item], *, is_needed: bool) -> tuple[Item, ...]:
    """The items of an event; it may need one."""
    if is_needed and not items:
        raise UnusualRecordError
    return tuple(items)
