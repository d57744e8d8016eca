"""What conditions of rules ask of one event, one item, an amount of money or a number, in naive terms.

Written from docs/segments.md, for `naive_rules`; it uses nothing of `operators.segments.rules`.
"""

from __future__ import annotations

import re
from math import ceil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from state.events import Event, Item


SPANS_MS = {"s": 1000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}


ITEM_FILTERS = ("category", "brand", "item", "price")


def fits(event: Event, kinds: str | list[str], when: dict[str, Any]) -> bool:
    """Whether an event passes the filter of a condition."""
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if event.type not in kinds and "any" not in kinds:
        return False
    if any(name in when for name in ITEM_FILTERS) and not any(
        item_fits(item, when) for item in event.items
    ):
        return False
    if "value" in when and not is_in(worth(event) / 1e6, when["value"]):
        return False
    names = ("device", "country", "campaign_source", "campaign_medium", "campaign_name")
    return all(context(event, name) in several(when[name]) for name in names if name in when)


def of_item(when: dict[str, Any], item: str) -> dict[str, Any]:
    """A sequence whose every step is about one item."""
    steps = [step | {"item": item} for step in when["sequence"]]
    return {"sequence": steps, "within": when["within"]}


def item_fits(item: Item, when: dict[str, Any]) -> bool:
    """Whether an item passes the filter of a condition."""
    if "item" in when and item.item_id not in several(when["item"]):
        return False
    if "brand" in when and item.brand not in several(when["brand"]):
        return False
    if "category" in when and not any(
        list(item.category[: len(path.split("/"))]) == path.split("/")
        for path in several(when["category"])
    ):
        return False
    return "price" not in when or (item.price is not None and is_in(item.price, when["price"]))


def several(text: str | list[str]) -> list[str]:
    """One value or a list of values, as a list."""
    return [text] if isinstance(text, str) else text


def context(event: Event, name: str) -> str | None:
    if name.startswith("campaign_"):
        return getattr(event.campaign, name.removeprefix("campaign_"), None)
    found: str | None = getattr(event, name)
    return found


def worth(event: Event) -> int:
    return in_items(event) if event.value is None else round(event.value * 1e6)


def given_back(events: Sequence[Event]) -> dict[int, int]:
    """What each refund gave back of its order, by the identity of the event."""
    orders = {e.order_id: e for e in events if e.type == "purchase"}
    left = {name: worth(order) for name, order in orders.items()}
    given: dict[int, int] = {}
    for e in events:
        if e.type != "refund":
            continue
        asked = asked_back(e, orders.get(e.order_id))
        rest = left.get(e.order_id, asked)
        given[id(e)] = min(asked, rest)
        left[e.order_id] = rest - given[id(e)]
        if e.order_id not in orders:
            del left[e.order_id]
    return given


def asked_back(refund: Event, order: Event | None) -> int:
    """What a refund asks for: an amount, priced items, items at their price in the order, or the
    whole order."""
    if refund.value is not None or any(item.price is not None for item in refund.items):
        return worth(refund)
    if order is None:
        return 0
    if not refund.items:
        return worth(order)
    total, goods, pieces = 0, in_items(order), sum(ceil(item.quantity) for item in order.items)
    for item in refund.items:
        same = [one.price for one in order.items if one.item_id == item.item_id]
        costs = [round(price * 1e6) for price in same if price is not None]
        if costs and goods:
            total += worth(order) * costs[0] * ceil(item.quantity) // goods
        elif pieces:
            total += worth(order) * ceil(item.quantity) // pieces
    return total


def in_items(event: Event) -> int:
    return sum(round(round((item.price or 0) * 1e6) * item.quantity) for item in event.items)


def consented(events: Iterable[Event]) -> str:
    statements = [e for e in events if e.consent is not None]
    if not statements:
        return "not asked"
    last_ms = max(e.event_ts for e in statements)
    answers = [e.consent.ads for e in statements if e.event_ts == last_ms and e.consent]
    if False in answers:
        return "no"
    return "yes" if True in answers else "not asked"


def span(text: str) -> int:
    number, unit = text.split()
    return int(float(number) * SPANS_MS[unit])


def is_in(value: float, text: str) -> bool:
    """Whether a number is within bounds such as `at least 3`."""
    numbers = [float(n) for n in re.findall(r"[\d.]+", text)]
    if text.startswith("between"):
        return numbers[0] <= value <= numbers[1]
    limit = numbers[0]
    for words, holds in (
        (("at least", ">="), value >= limit),
        (("at most", "<="), value <= limit),
        (("more than", ">"), value > limit),
        (("less than", "fewer than", "<"), value < limit),
        (("exactly", "="), value == limit),
    ):
        if text.startswith(words):
            return holds
    raise AssertionError(text)
