"""What happens to an item and concerns those who looked at it: it is back in stock, its price drops.

What concerns one shopper's own doings (a cart left, three views) is a rule in segments.yaml.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.segments.changes import Change
from state.interactions import NOBODY
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.personalize.state import Learned
    from state.events import Item
    from state.interactions import Card

BACK_IN_STOCK, PRICE_DROP = "back-in-stock", "price-drop"


class Turn(NamedTuple):
    """What happened to an item: the trigger's name, and when (event time, ms)."""

    name: str
    item: str
    at_ms: int


def turns_of(card: Card, item: Item, currency: str, at_ms: int, drop_min: float) -> Iterable[Turn]:
    """What a newer word on an item means, given its card as it was; a price has to drop by a share.

    >>> from state.events import Item; from state.interactions import Card
    >>> gone = Card(1, price=10.0, available=False)
    >>> [turn.name for turn in turns_of(gone, Item("mug", available=True), "", 2, 0.05)]
    ['back-in-stock']
    >>> here = Card(1, price=10.0)
    >>> [[t.name for t in turns_of(here, Item("mug", price=p), "", 2, 0.05)] for p in (9.5, 9.6)]
    [['price-drop'], []]
    """
    if item.available and card.available is False:
        yield Turn(BACK_IN_STOCK, item.item_id, at_ms)
    is_there = item.available if item.available is not None else card.available is not False
    if item.price is None or not card.price or not is_there:
        return
    is_same = not currency or card.currency in ("", currency)
    if is_same and item.price <= card.price * (1 - drop_min):
        yield Turn(PRICE_DROP, item.item_id, at_ms)


def told(learned: Learned, turns: Iterable[Turn]) -> list[Change]:
    """Each turn to everybody who looked at the item before and did not buy it, newest first."""
    settings, recommender = learned.settings.triggers, learned.recommender
    found = [(turn, recommender.items.find(turn.item)) for turn in turns]
    found = [(turn, row) for turn, row in found if row != NOBODY]
    if not found:
        return []
    looks = learned.views.of(np.array([row for _, row in found], np.int32))
    changes: list[Change] = []
    for (name, item, at_ms), row in found:
        after_ms = at_ms - settings.days * DAY_MS
        for who in looks.lookers(row, after_ms, at_ms, settings.shoppers_max).tolist():
            shopper = recommender.shoppers.ids[who]
            if shopper:
                known = learned.audience.is_known(who)
                changes.append(Change("trigger", shopper, name, at_ms, known, item))
    return changes
