"""The interactions and feedback of a batch as columns of rows, ready to be learned.

Reads the state of before the batch: what a shopper was then is what the batch is evaluated by.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.recommend.feedback_events import FEEDBACK_KIND, FeedbackEvents
from state.arrays import NO_ROW
from state.interactions import CART, PURCHASE, VIEW, EventColumns

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.catalogue.item_cards import ItemCards
    from operators.events.event_clock import EventClock
    from operators.personalize.removal import Removed
    from operators.segments.membership_index import MembershipIndex
    from state.entries import Feedback, Interaction
    from state.interactions import RowIndex

_COLUMNS = attrgetter(
    "shopper", "item", "event_type", "at_ms", "session_start_ms", "category", "country"
)
_KIND_OF_TYPE = {
    "item_view": VIEW,
    "wishlist_add": VIEW,
    "cart_add": CART,
    "purchase": PURCHASE,
}


class Resolved(NamedTuple):
    """The batch, whose interactions are columns: all their shoppers have rows now.

    `serves_ads` says of each interaction whether triggers may use it, None where all may be used.
    """

    removed: Removed
    interactions: EventColumns
    serves_ads: Sequence[bool] | None


class InteractionResolver:
    """Resolves the ids of a batch's interactions to rows, and notes what is new of items."""

    def __init__(
        self,
        shoppers: RowIndex,
        item_cards: ItemCards,
        memberships: MembershipIndex,
        clock: EventClock,
        weights: Mapping[str, float],
    ) -> None:
        self._shoppers = shoppers
        self._item_cards = item_cards
        self._memberships = memberships
        self._clock = clock
        self._weights = weights

    def resolve(self, removed: Removed) -> Resolved:
        """Columns of the interactions.

        Order 3: merges and erasures come first: a user inherits session context and feedback of the
        shopper that it was before its new interactions are appended. `Removed` says that it is done.
        """
        batch = removed.batch
        self._item_cards.update(batch.item_updates)
        columns = self._columns(batch.interactions)
        columns.cards, columns.changed_items = (
            self._item_cards.by_id,
            self._item_cards.take_changed(),
        )
        return Resolved(removed, columns, batch.serves_ads)

    def _columns(self, entries: Sequence[Interaction]) -> EventColumns:
        if not entries:
            return no_interactions()
        shoppers, items, types, at_ms, session_ms, categories, countries = zip(
            *map(_COLUMNS, entries), strict=True
        )
        self._clock.observe(max(at_ms))
        rows = self._shoppers.get_or_add_many(shoppers)
        return EventColumns(
            shoppers,
            items,
            [_KIND_OF_TYPE[event_type] for event_type in types],
            [self._weights[event_type] for event_type in types],
            at_ms,
            session_ms,
            [category or None for category in categories],
            self._memberships.segments_of("cluster", rows),
            countries=[country or None for country in countries],
        )


def feedback_columns(
    entries: Sequence[Feedback], shoppers: RowIndex, items: RowIndex
) -> FeedbackEvents:
    """Columns of the feedback by shoppers that have a row on items that have one."""
    pairs = [(shoppers.get(entry.shopper), items.get(entry.item)) for entry in entries]
    known = [(*pair, e) for pair, e in zip(pairs, entries, strict=True) if min(pair) != NO_ROW]
    return FeedbackEvents(
        np.array([shopper for shopper, _, _ in known], np.int32),
        np.array([item for _, item, _ in known], np.int32),
        np.array([FEEDBACK_KIND[entry.event_type] for _, _, entry in known], np.int8),
        np.array([entry.at_ms for _, _, entry in known], np.int64),
        np.array([entry.list_position for _, _, entry in known], np.int32),
    )


def no_interactions() -> EventColumns:
    """No columns at all."""
    return EventColumns([], [], [], [], [], [], [], [])
