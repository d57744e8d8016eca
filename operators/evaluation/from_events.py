"""Canonical events to clicks: what of a shop's own log is evaluated."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.evaluation.clicks import RawClick
from state.deadletters import DeadLetter
from state.interactions import CART, PURCHASE, VIEW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from state.config import Weights
    from state.events import Event

KINDS = {"item_view": VIEW, "wishlist_add": CART, "cart_add": CART, "purchase": PURCHASE}


def from_events(
    records: Iterable[Event | DeadLetter], weights: Weights, set_aside: Callable[[DeadLetter], None]
) -> Iterator[RawClick]:
    """A click for each item of each event that says something about taste; the rest is passed over."""
    for record in records:
        if isinstance(record, DeadLetter):
            set_aside(record)
            continue
        kind = KINDS.get(record.type)
        if kind is None:
            continue
        weight: float = getattr(weights, record.type)
        shopper = record.user_id or record.anonymous_id or ""
        for item in record.items:
            yield RawClick(shopper, item.item_id, record.event_ts, kind, weight)
