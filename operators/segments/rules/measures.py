"""What a condition counts or adds in an event: its items' ids, categories or brands, its day, or an
amount."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.rules.filters import compile_item_test
from operators.shoppers import amounts
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable

    from operators.segments.rules.filters import Filter
    from state.events import Event, Item


def compile_keys(events: Filter, measured: str) -> Callable[[Event], list[str]]:
    """The function that lists the different values of an event: `items`, `categories`, `brands` or
    `days`."""
    if measured == "days":
        return lambda event: [str(event.event_ts // DAY_MS)]
    item_matches = compile_item_test(events)
    if measured == "items" and item_matches is None:
        return lambda event: [item.item_id for item in event.items]
    key_of_item = _KEYS_OF_ITEM[measured]

    def keys(event: Event) -> list[str]:
        keys_of_items = (
            key_of_item(item) for item in event.items if item_matches is None or item_matches(item)
        )
        return [key for key in keys_of_items if key]

    return keys


_KEYS_OF_ITEM: dict[str, Callable[[Item], str | None]] = {
    "items": lambda item: item.item_id,
    "categories": lambda item: "/".join(item.category),
    "brands": lambda item: item.brand,
}


def compile_amount(events: Filter, measured: str) -> Callable[[Event], int]:
    """The function that says what an event adds to a sum: money in millionths, or pieces."""
    item_matches = compile_item_test(events)

    def amount(event: Event) -> int:
        if measured == "count":
            return 1
        if measured == "quantity":
            matching = (item for item in event.items if item_matches is None or item_matches(item))
            return amounts.unit_count(matching)
        if item_matches is None:
            amount_micros = amounts.value_micros(event)
        else:
            amount_micros = amounts.items_micros(
                tuple(item for item in event.items if item_matches(item))
            )
        is_given_back = measured == "net value" and event.type == "refund"
        return -amount_micros if is_given_back else amount_micros

    return amount
