"""Turns canonical events into clicks, to evaluate on a shop's own log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.evaluation.clicks import RawClick
from operators.shards.identity_map import IdentityMap
from state.dead_letters import DeadLetter
from state.events import Item
from state.interactions import CART, PURCHASE, VIEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from operators.evaluation.impressions import ImpressionLog
    from state.config_lists import Weights
    from state.events import Event

KINDS = {"item_view": VIEW, "wishlist_add": CART, "cart_add": CART, "purchase": PURCHASE}


def clicks_from_events(
    records: Iterable[Event | DeadLetter],
    weights: Weights,
    reject: Callable[[DeadLetter], None],
    impressions: ImpressionLog | None = None,
) -> Iterator[RawClick]:
    """A click for each item of each event with a kind of `KINDS`; other events are left out.

    `impressions`, if given, observes all events. A shopper is the user as soon as they are identified;
    earlier clicks stay with the anonymous id.
    """
    identities = IdentityMap()
    for record in records:
        if isinstance(record, DeadLetter):
            reject(record)
            continue
        # Before the type is looked at: an `identify` has no item, but links the two ids.
        shopper = _shopper_of(record, identities)
        if impressions is not None:
            impressions.observe(record, shopper)
        kind = KINDS.get(record.type)
        if kind is None:
            continue
        weight: float = getattr(weights, record.type)
        for item in record.items:
            details = Item(item.item_id, item.category, item.brand, item.name, item.price)
            about = None if details == Item(item.item_id) else details
            yield RawClick(shopper, item.item_id, record.event_ts, kind, weight, about)


def _shopper_of(event: Event, identities: IdentityMap) -> str:
    if event.anonymous_id is None:
        if event.user_id is not None:
            identities.mark_as_user(event.user_id, event.event_ts)
        return event.user_id or ""
    identity = identities.resolve(event)
    return identity.user_id if identity else event.anonymous_id
