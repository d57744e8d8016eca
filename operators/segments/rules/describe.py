"""A rule in words, as the page and `penstock segments` show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.rules import features
from operators.segments.rules.ast import All, Any, Holdout, Not, Number, Sequence, Text, Window
from operators.segments.rules.quantities import span_words
from state.money import MICROS

if TYPE_CHECKING:
    from operators.segments.rules.ast import Filter, Node

_TYPES = {
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
_FILTERS = (
    ("categories", "in"),
    ("brands", "of brand"),
    ("items", "of item"),
    ("campaign_source", "from"),
    ("campaign_medium", "by"),
    ("campaign_name", "in campaign"),
    ("device", "on"),
    ("country", "in country"),
    ("list", "in list"),
    ("query", "searching for"),
)


def in_words(node: Node) -> str:
    """One line that says what a condition means.

    >>> from operators.segments.rules.ast import Bounds, Number
    >>> in_words(Not(Number("purchases", Bounds(3, None, "at least 3"))))
    'not purchases at least 3'
    """
    match node:
        case All(parts):
            return " and ".join(map(_part, parts))
        case Any(parts):
            return " or ".join(map(_part, parts))
        case Not(Text(feature, values)):
            return f"{features.TEXTS[feature].words} is not {_one_of(values)}"
        case Not(Window(events, "count", bounds, within_ms)) if bounds.low == 1 and not bounds.high:
            return f"no {events_in_words(events)} {_span(within_ms)}"
        case Not(part):
            return f"not {_part(part)}"
        case Number(feature, bounds):
            ago = " ago" if feature in features.SINCE else ""
            return f"{_feature(feature)} {bounds.words}{ago}"
        case Text(feature, values):
            return f"{features.TEXTS[feature].words} is {_one_of(values)}"
        case Window(events, measure, bounds, within_ms):
            what = "" if measure == "count" else f"{measure}, "
            return f"{events_in_words(events)} ({what}{bounds.words}) {_span(within_ms)}"
        case Sequence():
            return _sequence(node)
        case Holdout(share, _):
            return f"held out ({share * 100 / MICROS:g} %)"


def _part(node: Node) -> str:
    words = in_words(node)
    is_several = isinstance(node, Sequence) or (isinstance(node, All | Any) and len(node.parts) > 1)
    return f"({words})" if is_several else words


def _feature(name: str) -> str:
    for table in (features.NUMBERS, features.SINCE, features.SESSION):
        if name in table:
            return table[name].words
    raise KeyError(name)


def events_in_words(events: Filter) -> str:
    """Which events a filter lets through."""
    text = _one_of([_TYPES[name] for name in events.types])
    for field, word in _FILTERS:
        if values := getattr(events, field):
            text += f" {word} {_one_of(values)}"
    if events.price is not None:
        text += f" at a price of {events.price.words}"
    if events.value is not None:
        text += f" worth {events.value.words}"
    return text


def _sequence(node: Sequence) -> str:
    text = events_in_words(node.steps[0].events)
    for step in node.steps[1:]:
        text += f", then {events_in_words(step.events)}"
        if step.within_ms is not None:
            text += f" within {span_words(step.within_ms)}"
    if node.absent is not None and node.absent.within_ms is not None:
        text += f", then no {events_in_words(node.absent.events)}"
        text += f" for {span_words(node.absent.within_ms)}"
    if node.same_item:
        text += ", all of the same item"
    return f"{text}, begun in the last {span_words(node.within_ms)}"


def _span(within_ms: int | None) -> str:
    return "ever" if within_ms is None else f"within {span_words(within_ms)}"


def _one_of(values: tuple[str, ...] | list[str]) -> str:
    return " or ".join(values)
