"""A rule in words, as the page and `penstock segments` show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.rules import features
from operators.segments.rules.ast import All, Any, Holdout, Not, Number, Sequence, Text, Window
from operators.segments.rules.quantities import format_duration
from state.money import MICROS_PER_UNIT

if TYPE_CHECKING:
    from operators.segments.rules.ast import Filter, Node

_EVENT_TYPE_LABELS = {
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
_FILTER_PHRASES = (
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


def describe_condition(node: Node) -> str:
    """One line that says what a condition means.

    >>> from operators.segments.rules.ast import Bounds, Number
    >>> describe_condition(Not(Number("purchases", Bounds(3, None, "at least 3"))))
    'not purchases at least 3'
    """
    match node:
        case All(parts):
            return " and ".join(map(_describe_part, parts))
        case Any(parts):
            return " or ".join(map(_describe_part, parts))
        case Not(Text(feature, values)):
            return f"{features.TEXT_FEATURES[feature].label} is not {_join_values(values)}"
        case Not(Window(events, "count", bounds, within_ms)) if bounds.low == 1 and not bounds.high:
            return f"no {describe_events(events)} {_describe_span(within_ms)}"
        case Not(part):
            return f"not {_describe_part(part)}"
        case Number(feature, bounds):
            ago = " ago" if feature in features.AGE_FEATURES else ""
            return f"{_feature_label(feature)} {bounds.words}{ago}"
        case Text(feature, values):
            return f"{features.TEXT_FEATURES[feature].label} is {_join_values(values)}"
        case Window(events, measure, bounds, within_ms):
            measured = "" if measure == "count" else f"{measure}, "
            return (
                f"{describe_events(events)} ({measured}{bounds.words}) {_describe_span(within_ms)}"
            )
        case Sequence():
            return _describe_sequence(node)
        case Holdout(share, _):
            return f"held out ({share * 100 / MICROS_PER_UNIT:g} %)"


def _describe_part(node: Node) -> str:
    text = describe_condition(node)
    is_several = isinstance(node, Sequence) or (isinstance(node, All | Any) and len(node.parts) > 1)
    return f"({text})" if is_several else text


def _feature_label(name: str) -> str:
    for table in (features.NUMBER_FEATURES, features.AGE_FEATURES, features.SESSION_FEATURES):
        if name in table:
            return table[name].label
    raise KeyError(name)


def describe_events(events: Filter) -> str:
    """Which events a filter lets through."""
    text = _join_values([_EVENT_TYPE_LABELS[name] for name in events.types])
    for field, phrase in _FILTER_PHRASES:
        if values := getattr(events, field):
            text += f" {phrase} {_join_values(values)}"
    if events.price is not None:
        text += f" at a price of {events.price.words}"
    if events.value is not None:
        text += f" worth {events.value.words}"
    return text


def _describe_sequence(node: Sequence) -> str:
    text = describe_events(node.steps[0].events)
    for step in node.steps[1:]:
        text += f", then {describe_events(step.events)}"
        if step.within_ms is not None:
            text += f" within {format_duration(step.within_ms)}"
    if node.absent is not None and node.absent.within_ms is not None:
        text += f", then no {describe_events(node.absent.events)}"
        text += f" for {format_duration(node.absent.within_ms)}"
    if node.same_item:
        text += ", all of the same item"
    return f"{text}, begun in the last {format_duration(node.within_ms)}"


def _describe_span(within_ms: int | None) -> str:
    return "ever" if within_ms is None else f"within {format_duration(within_ms)}"


def _join_values(values: tuple[str, ...] | list[str]) -> str:
    return " or ".join(values)
