"""What happens to an item and concerns those who looked at it: it is back in stock, its price drops.

What concerns one shopper's own doings (a cart left, three views) is a rule in segments.yaml.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from state.arrays import NO_ROW
from state.changes import Change
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.personalize.state import PersonalizationState
    from state.events import Item
    from state.interactions import ItemCard

BACK_IN_STOCK, PRICE_DROP = "back-in-stock", "price-drop"


class CatalogueEvent(NamedTuple):
    """What happened to an item: the trigger's name, and when (event time, ms)."""

    name: str
    item: str
    at_ms: int


def detect_catalogue_events(
    card: ItemCard, item: Item, currency: str, at_ms: int, drop_min: float
) -> Iterable[CatalogueEvent]:
    """What a newer word on an item means, given its card as it was; a price has to drop by a share.

    >>> from state.events import Item; from state.interactions import ItemCard
    >>> gone = ItemCard(1, price=10.0, available=False)
    >>> [turn.name for turn in detect_catalogue_events(gone, Item("mug", available=True), "", 2, 0.05)]
    ['back-in-stock']
    >>> here = ItemCard(1, price=10.0)
    >>> cheaper = [Item("mug", price=price) for price in (9.5, 9.6)]
    >>> [[e.name for e in detect_catalogue_events(here, item, "", 2, 0.05)] for item in cheaper]
    [['price-drop'], []]
    """
    if item.available and card.available is False:
        yield CatalogueEvent(BACK_IN_STOCK, item.item_id, at_ms)
    is_available = item.available if item.available is not None else card.available is not False
    if item.price is None or not card.price or not is_available:
        return
    is_same_currency = not currency or card.currency in ("", currency)
    if is_same_currency and item.price <= card.price * (1 - drop_min):
        yield CatalogueEvent(PRICE_DROP, item.item_id, at_ms)


def triggered_changes(
    learned: PersonalizationState, events: Iterable[CatalogueEvent]
) -> list[Change]:
    """Each turn to everybody who looked at the item before and did not buy it, newest first."""
    settings, recommender = learned.settings.triggers, learned.recommender
    events_with_rows = [(event, recommender.items.get(event.item)) for event in events]
    events_with_rows = [(turn, row) for turn, row in events_with_rows if row != NO_ROW]
    if not events_with_rows:
        return []
    views = learned.recent_views.lookup(np.array([row for _, row in events_with_rows], np.int32))
    changes: list[Change] = []
    for (name, item, at_ms), row in events_with_rows:
        after_ms = at_ms - settings.days * DAY_MS
        for viewer in views.viewers_of(row, after_ms, at_ms, settings.shoppers_max).tolist():
            shopper = recommender.shoppers.ids[viewer]
            if shopper:
                is_known = learned.memberships.is_known(viewer)
                changes.append(Change("trigger", shopper, name, at_ms, is_known, item))
    return changes
