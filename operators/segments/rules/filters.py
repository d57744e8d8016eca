"""Which events a rule looks at, as functions of an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shoppers import amounts
from state.money import to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from operators.segments.rules.ast import Bounds, Filter
    from state.events import Event, Item

    Test = Callable[[Event], bool]
    ItemTest = Callable[[Item], bool]


def is_within(bounds: Bounds, number: int) -> bool:
    """Whether a number is in a range."""
    if bounds.low is not None and number < bounds.low:
        return False
    return bounds.high is None or number <= bounds.high


def is_below_any(path: str, parents: Sequence[str]) -> bool:
    """Whether a path (`shoes/running`) is one of these or below one."""
    return any(path == name or path.startswith(f"{name}/") for name in parents)


def compile_item_test(events: Filter) -> ItemTest | None:
    """Whether an item is one that the filter looks for; None if it does not look at items."""
    if not events.matches_items:
        return None
    categories, brands = events.categories, frozenset(events.brands)
    items, price = frozenset(events.items), events.price
    prefixes = tuple(f"{name}/" for name in categories)
    low, high = (None, None) if price is None else (price.low, price.high)

    def has_price(item: Item) -> bool:
        if item.price is None:
            return False
        price = to_micros(item.price)
        return (low is None or price >= low) and (high is None or price <= high)

    if not (items or brands or categories):
        return has_price

    def matches(item: Item) -> bool:
        if items and item.item_id not in items:
            return False
        if brands and item.brand not in brands:
            return False
        if categories:
            path = "/".join(item.category)
            if path not in categories and not path.startswith(prefixes):
                return False
        return price is None or has_price(item)

    return matches


def compile_event_test(events: Filter) -> Test | None:
    """Whether an event of the right type is one that the filter looks for; None if all are."""
    tests: list[Test] = []
    item_matches = compile_item_test(events)
    if item_matches is not None:
        tests.append(lambda event: any(map(item_matches, event.items)))
    if events.value is not None:
        value = events.value
        tests.append(lambda event: is_within(value, amounts.value_micros(event)))
    if events.query:
        queries = events.query
        tests.append(lambda event: _contains_any(event.query, queries))
    for name, text_of in _EVENT_TEXTS.items():
        if values := getattr(events, name):
            tests.append(_compile_one_of(text_of, frozenset(values)))
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda event: all(test(event) for test in tests)


def _compile_one_of(text_of: Callable[[Event], str | None], values: frozenset[str]) -> Test:
    return lambda event: text_of(event) in values


def _contains_any(query: str | None, parts: Sequence[str]) -> bool:
    if query is None:
        return False
    text = query.lower()
    return any(part in text for part in parts)


def _campaign(field: str) -> Callable[[Event], str | None]:
    return lambda event: None if event.campaign is None else getattr(event.campaign, field)


_EVENT_TEXTS: dict[str, Callable[[Event], str | None]] = {
    "device": lambda event: event.device,
    "country": lambda event: event.country,
    "list": lambda event: event.list_id,
    "campaign_source": _campaign("source"),
    "campaign_medium": _campaign("medium"),
    "campaign_name": _campaign("name"),
}

LATEST_TEXT_OF = {name: of for name, of in _EVENT_TEXTS.items() if name != "list"}
"""What an event may say that stands until another says something else."""


def compile_keys(events: Filter, measured: str) -> Callable[[Event], list[str]]:
    """What is told apart in an event: its items' ids, categories or brands, or its day (UTC)."""
    item_matches = compile_item_test(events)
    key_of_item: Callable[[Item], str | None]
    match measured:
        case "days":
            return lambda event: [str(event.event_ts // 86_400_000)]
        case "items" if item_matches is None:
            return lambda event: [item.item_id for item in event.items]
        case "items":
            key_of_item = lambda item: item.item_id  # noqa: E731
        case "categories":
            key_of_item = lambda item: "/".join(item.category)  # noqa: E731
        case _:
            key_of_item = lambda item: item.brand  # noqa: E731

    def keys(event: Event) -> list[str]:
        keys_of_items = (
            key_of_item(item) for item in event.items if item_matches is None or item_matches(item)
        )
        return [name for name in keys_of_items if name]

    return keys


def compile_amount(events: Filter, measured: str) -> Callable[[Event], int]:
    """What an event adds to a sum: money in millionths, or pieces."""
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
        return (
            -amount_micros if measured == "net value" and event.type == "refund" else amount_micros
        )

    return amount
