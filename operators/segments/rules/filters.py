"""Which events a rule looks at, as functions of an event."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shoppers import profile
from state.money import micros

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from operators.segments.rules.ast import Bounds, Filter
    from state.events import Event, Item

    Test = Callable[[Event], bool]
    ItemTest = Callable[[Item], bool]


def within(bounds: Bounds, number: int) -> bool:
    """Whether a number is in a range."""
    if bounds.low is not None and number < bounds.low:
        return False
    return bounds.high is None or number <= bounds.high


def is_below(path: str, names: Sequence[str]) -> bool:
    """Whether a path (`shoes/running`) is one of these or below one."""
    return any(path == name or path.startswith(f"{name}/") for name in names)


def item_test(events: Filter) -> ItemTest | None:
    """Whether an item is one that the filter looks for; None if it does not look at items."""
    if not events.of_items:
        return None
    categories, brands = events.categories, frozenset(events.brands)
    items, price = frozenset(events.items), events.price
    prefixes = tuple(f"{name}/" for name in categories)
    low, high = (None, None) if price is None else (price.low, price.high)

    def costs(item: Item) -> bool:
        if item.price is None:
            return False
        price = micros(item.price)
        return (low is None or price >= low) and (high is None or price <= high)

    if not (items or brands or categories):
        return costs

    def fits(item: Item) -> bool:
        if items and item.item_id not in items:
            return False
        if brands and item.brand not in brands:
            return False
        if categories:
            path = "/".join(item.category)
            if path not in categories and not path.startswith(prefixes):
                return False
        return price is None or costs(item)

    return fits


def event_test(events: Filter) -> Test | None:
    """Whether an event of the right type is one that the filter looks for; None if all are."""
    tests: list[Test] = []
    fits = item_test(events)
    if fits is not None:
        tests.append(lambda event: any(map(fits, event.items)))
    if events.value is not None:
        value = events.value
        tests.append(lambda event: within(value, profile.value_micros(event)))
    if events.query:
        queries = events.query
        tests.append(lambda event: _contains(event.query, queries))
    for name, of in _TEXTS.items():
        if values := getattr(events, name):
            tests.append(_one_of(of, frozenset(values)))
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda event: all(test(event) for test in tests)


def _one_of(of: Callable[[Event], str | None], values: frozenset[str]) -> Test:
    return lambda event: of(event) in values


def _contains(query: str | None, parts: Sequence[str]) -> bool:
    if query is None:
        return False
    text = query.lower()
    return any(part in text for part in parts)


def _campaign(field: str) -> Callable[[Event], str | None]:
    return lambda event: None if event.campaign is None else getattr(event.campaign, field)


_TEXTS: dict[str, Callable[[Event], str | None]] = {
    "device": lambda event: event.device,
    "country": lambda event: event.country,
    "list": lambda event: event.list_id,
    "campaign_source": _campaign("source"),
    "campaign_medium": _campaign("medium"),
    "campaign_name": _campaign("name"),
}

LATEST = {name: of for name, of in _TEXTS.items() if name != "list"}
"""What an event may say that stands until another says something else."""


def keys_in(events: Filter, what: str) -> Callable[[Event], list[str]]:
    """What is told apart in an event: its items' ids, categories or brands, or its day (UTC)."""
    fits = item_test(events)
    of_item: Callable[[Item], str | None]
    match what:
        case "days":
            return lambda event: [str(event.event_ts // 86_400_000)]
        case "items" if fits is None:
            return lambda event: [item.item_id for item in event.items]
        case "items":
            of_item = lambda item: item.item_id  # noqa: E731
        case "categories":
            of_item = lambda item: "/".join(item.category)  # noqa: E731
        case _:
            of_item = lambda item: item.brand  # noqa: E731

    def keys(event: Event) -> list[str]:
        named = (of_item(item) for item in event.items if fits is None or fits(item))
        return [name for name in named if name]

    return keys


def amount_in(events: Filter, what: str) -> Callable[[Event], int]:
    """What an event adds to a sum: money in millionths, or pieces."""
    fits = item_test(events)

    def amount(event: Event) -> int:
        if what == "count":
            return 1
        if what == "quantity":
            fitting = (item for item in event.items if fits is None or fits(item))
            return profile.units(fitting)
        if fits is None:
            worth = profile.value_micros(event)
        else:
            worth = profile.items_micros(tuple(item for item in event.items if fits(item)))
        return -worth if what == "net value" and event.type == "refund" else worth

    return amount
