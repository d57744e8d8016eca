"""Decodes many canonical records in one loop. Hot.

The fast twin of `decode.decode_fast`, with the same result for every record: an event that breaks no
rule and needs no mending is known by a few comparisons, and whatever is not so usual takes `decode_fast`
itself. A property test holds the two equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import force_setattr

from operators.events.decode import NESTING_MAX, decode_fast
from operators.events.sound_ids import is_sound_id, sound_ids
from operators.events.validation import (
    CLOCK_SKEW_MS,
    EARLIEST_MS,
    ORDER_TYPES,
    TYPES_WITH_ITEMS,
)
from state.events import MONEY_MAX, PROPS_BYTES_MAX, Event

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.limits import Limits

_FLAT_BYTES_MAX = 2 * NESTING_MAX + 60
"""No event in so many bytes is nested too deep: its required fields alone take 60."""

_decode = msgspec.json.Decoder(Event).decode


def decode_batch(
    records: Iterable[bytes], arrivals_ms: Iterable[int], limits: Limits
) -> list[Event | None]:
    """The event of each record that breaks no rule, else None; `arrivals_ms` are times of arrival.

    >>> from state.limits import DEFAULT
    >>> line = b'{"event_id":"1","type":"page_view","event_ts":1600000000000,"user_id":"ann"}'
    >>> [event and event.user_id for event in decode_batch([line, b"{"], [2**50] * 2, DEFAULT)]
    ['ann', None]
    """
    results: list[Event | None] = []
    bytes_max = min(limits.event_bytes_max, PROPS_BYTES_MAX)
    for raw, at_ms in zip(records, arrivals_ms, strict=False):
        size = len(raw)
        if size <= bytes_max and raw.isascii():
            try:
                event = _decode(raw)
            except Exception:
                results.append(None)
                continue
            if (
                size <= _FLAT_BYTES_MAX or raw.count(b"{") + raw.count(b"[") <= NESTING_MAX
            ) and is_sound(event, at_ms, limits.event_items_max):
                results.append(event)
                continue
        results.append(_decode_unusual(raw, at_ms, limits))
    return results


def is_sound(event: Event, now_ms: int, items_max: int) -> bool:
    """Whether an event breaks no rule and needs no mending, but for a time of receipt, which it gets.

    False says nothing: `normalize` has the rules. Ids are sound if they were before.
    """
    sent, received = event.event_ts, event.received_ts
    if received == 0 and sent <= now_ms:
        received = sent
        force_setattr(event, "received_ts", sent)
    if not (EARLIEST_MS <= received <= now_ms and EARLIEST_MS <= sent <= received + CLOCK_SKEW_MS):
        return False
    user, anonymous, value = event.user_id, event.anonymous_id, event.value
    event_id, event_type, items = event.event_id, event.type, event.items
    if (
        not (anonymous in sound_ids or (anonymous is None and user is not None))
        or not (user is None or user in sound_ids)
        or event.order_id is not None
        or event_type in ORDER_TYPES
        or not (value is None or 0 <= value <= MONEY_MAX)
        or event_id.strip() is not event_id
        or len(items) > items_max
    ):
        return False
    for item in items:
        item_id, price = item.item_id, item.price
        if item_id.strip() is not item_id or not (price is None or 0 <= price <= MONEY_MAX):
            return False
    return items != () or event_type not in TYPES_WITH_ITEMS


def _decode_unusual(raw: bytes, now_ms: int, limits: Limits) -> Event | None:
    """As `decode_fast`; and remembers the ids, if they are sound."""
    event = decode_fast(raw, now_ms, limits)
    if event is not None:
        for name in (event.user_id, event.anonymous_id):
            if name is not None:
                is_sound_id(name)
    return event
