"""Canonical events to clicks: what of a shop's own log is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.evaluation.clicks import RawClick
from operators.shards.identity_map import Links
from state.dead_letters import DeadLetter
from state.events import Item
from state.interactions import CART, PURCHASE, VIEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from operators.evaluation.impressions import ShownLog
    from state.config import Weights
    from state.events import Event

KINDS = {"item_view": VIEW, "wishlist_add": CART, "cart_add": CART, "purchase": PURCHASE}


def from_events(
    records: Iterable[Event | DeadLetter],
    weights: Weights,
    set_aside: Callable[[DeadLetter], None],
    shown: ShownLog | None = None,
) -> Iterator[RawClick]:
    """A click for each item of each event that says something about taste; the rest is passed over.

    `shown`, if any, hears all events.

    A shopper is the user once identified; clicks before that stay with the anonymous id.
    """
    links = Links()
    for record in records:
        if isinstance(record, DeadLetter):
            set_aside(record)
            continue
        # Before the type is looked at: an `identify` speaks of no item, but says who is who.
        shopper = _shopper_of(record, links)
        if shown is not None:
            shown.hear(record, shopper)
        kind = KINDS.get(record.type)
        if kind is None:
            continue
        weight: float = getattr(weights, record.type)
        for item in record.items:
            told = Item(item.item_id, item.category, item.brand, item.name, item.price)
            about = None if told == Item(item.item_id) else told
            yield RawClick(shopper, item.item_id, record.event_ts, kind, weight, about)


def _shopper_of(event: Event, links: Links) -> str:
    if event.anonymous_id is None:
        if event.user_id is not None:
            links.know(event.user_id, event.event_ts)
        return event.user_id or ""
    known = links.resolve(event)
    return known.user_id if known else event.anonymous_id
