"""Which events a condition counts: the filter below `event:`, `no:` and the steps of a sequence.

To add a filter on a text of the event: one field of `Filter` and one line in `_TEXT_FILTERS`, one in
docs/segments.md. The fields of `Filter` are part of stored digests: they must not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from operators.segments.rules.features import ANY_EVENT
from operators.segments.rules.quantities import MONEY, Bounds
from operators.segments.rules.yaml_nodes import suggest
from operators.segments.rules.yaml_values import bounds_of, texts_of
from operators.shoppers import amounts
from state.events import EVENT_TYPES
from state.money import to_micros

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from operators.segments.rules.yaml_nodes import YamlNode
    from state.events import Event, Item

    EventTest = Callable[[Event], bool]
    ItemTest = Callable[[Item], bool]


class _TextFilter(NamedTuple):
    """How a filter is written, its field of `Filter`, how it reads, and the text of an event."""

    key: str
    field: str
    phrase: str
    text_of: Callable[[Event], str | None] | None = None


def _campaign(field: str) -> Callable[[Event], str | None]:
    return lambda event: None if event.campaign is None else getattr(event.campaign, field)


_TEXT_FILTERS = (
    _TextFilter("category", "categories", "in"),
    _TextFilter("brand", "brands", "of brand"),
    _TextFilter("item", "items", "of item"),
    _TextFilter("campaign_source", "campaign_source", "from", _campaign("source")),
    _TextFilter("campaign_medium", "campaign_medium", "by", _campaign("medium")),
    _TextFilter("campaign_name", "campaign_name", "in campaign", _campaign("name")),
    _TextFilter("device", "device", "on", lambda event: event.device),
    _TextFilter("country", "country", "in country", lambda event: event.country),
    _TextFilter("list", "list", "in list", lambda event: event.list_id),
    _TextFilter("query", "query", "searching for"),
)
FILTER_KEYS = (*(text_filter.key for text_filter in _TEXT_FILTERS), "price", "value")

LATEST_TEXT_OF = {
    text_filter.field: text_filter.text_of
    for text_filter in _TEXT_FILTERS
    if text_filter.text_of is not None and text_filter.key != "list"
}
"""Texts of an event that describe the shopper until another event says something else."""

_TYPE_LABELS = {
    "any": "event",
    "page_view": "page view",
    "search": "search",
    "list_view": "list view",
    "item_view": "item view",
    "cart_add": "item put into the cart",
    "cart_remove": "item taken out of the cart",
    "checkout_start": "checkout begun",
    "purchase": "purchase",
    "refund": "refund",
    "wishlist_add": "item wished for",
    "reco_view": "recommendation seen",
    "reco_click": "recommendation clicked",
    "identify": "sign-in",
    "consent": "consent",
    "custom": "custom event",
}
_NON_SHOPPER_TYPES = frozenset({"erase", "item"})
"""Types of events that are nothing a shopper does."""
_EVENT_TYPES = (*sorted(EVENT_TYPES - _NON_SHOPPER_TYPES), ANY_EVENT)


class Filter(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which events count: those of these types that pass every filter that is set.

    One item of the event has to pass `categories` (a path or what is below it), `brands`, `items` and
    `price` together. `value` is that of the event. `query` is contained in the search text, in any case.
    """

    types: tuple[str, ...]
    categories: tuple[str, ...] = ()
    brands: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    price: Bounds | None = None
    value: Bounds | None = None
    campaign_source: tuple[str, ...] = ()
    campaign_medium: tuple[str, ...] = ()
    campaign_name: tuple[str, ...] = ()
    device: tuple[str, ...] = ()
    country: tuple[str, ...] = ()
    list: tuple[str, ...] = ()
    query: tuple[str, ...] = ()

    @property
    def matches_items(self) -> bool:
        """Whether it looks at single items."""
        return bool(self.categories or self.brands or self.items or self.price is not None)

    def takes(self, event_type: str) -> bool:
        """Whether events of this type can pass."""
        return event_type in self.types or ANY_EVENT in self.types

    def describe(self) -> str:
        """Which events pass, in words."""
        text = join_values([_TYPE_LABELS[name] for name in self.types])
        for _, field, phrase, _ in _TEXT_FILTERS:
            if values := getattr(self, field):
                text += f" {phrase} {join_values(values)}"
        if self.price is not None:
            text += f" at a price of {self.price.words}"
        if self.value is not None:
            text += f" worth {self.value.words}"
        return text


def parse_filter(fields: Mapping[str, YamlNode], key: str) -> Filter:
    """The types below `key` and the filters beside it. Raises ConfigurationError."""
    event_types = texts_of(fields[key], "a type of event, as in `item_view`")
    for name in event_types:
        if name not in _EVENT_TYPES:
            suggestion = suggest(name, _EVENT_TYPES)
            fields[key].raise_error(
                f"there is no event `{name}`{suggestion}: {', '.join(_EVENT_TYPES)}"
            )
    if ANY_EVENT in event_types:
        event_types = (ANY_EVENT,)
    texts: dict[str, tuple[str, ...]] = {}
    for text_filter in _TEXT_FILTERS:
        if text_filter.key in fields:
            values = texts_of(fields[text_filter.key], "what it has to be, or a list of that")
            if text_filter.key == "category":
                values = tuple(value.strip("/") for value in values)
            if text_filter.key == "query":
                values = tuple(value.lower() for value in values)
            texts[text_filter.field] = values
    price = bounds_of(fields["price"], MONEY) if "price" in fields else None
    value = bounds_of(fields["value"], MONEY) if "value" in fields else None
    return Filter(event_types, price=price, value=value, **texts)


def join_values(values: Sequence[str]) -> str:
    """Values as people read a choice of them."""
    return " or ".join(values)


def is_below_any(path: str, parents: Sequence[str]) -> bool:
    """Whether a path (`shoes/running`) is one of these or below one."""
    return any(path == parent or path.startswith(f"{parent}/") for parent in parents)


def compile_item_test(events: Filter) -> ItemTest | None:
    """The function that says whether an item passes; None where the filter does not look at items."""
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


def compile_event_test(events: Filter, *, has_one_item: bool = False) -> EventTest | None:
    """The function that says whether an event of a right type passes; None where all pass.

    With `has_one_item` it is for events that have exactly one item.
    """
    tests: list[EventTest] = []
    item_matches = compile_item_test(events)
    if item_matches is not None and has_one_item:
        tests.append(lambda event: item_matches(event.items[0]))
    elif item_matches is not None:
        tests.append(lambda event: any(map(item_matches, event.items)))
    if events.value is not None:
        value = events.value
        tests.append(lambda event: value.contains(amounts.value_micros(event)))
    if events.query:
        queries = events.query
        tests.append(lambda event: _contains_any(event.query, queries))
    for text_filter in _TEXT_FILTERS:
        values = getattr(events, text_filter.field)
        if text_filter.text_of is not None and values:
            tests.append(_is_one_of(text_filter.text_of, frozenset(values)))
    if len(tests) < 2:
        return tests[0] if tests else None
    return lambda event: all(test(event) for test in tests)


def _is_one_of(text_of: Callable[[Event], str | None], values: frozenset[str]) -> EventTest:
    return lambda event: text_of(event) in values


def _contains_any(query: str | None, parts: Sequence[str]) -> bool:
    if query is None:
        return False
    text = query.lower()
    return any(part in text for part in parts)
