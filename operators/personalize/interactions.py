"""The interactions and feedback of a batch as columns of rows, ready to be learned.

Reads the state of before the batch: what a shopper was then is what the batch is evaluated by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.recommend.feedback_events import FEEDBACK_KIND, FeedbackEvents
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.events.event_clock import EventClock
    from operators.personalize.removal import Removed
    from operators.segments.membership_index import MembershipIndex
    from state.entries import Feedback
    from state.interactions import EventColumns, RowIndex


class Resolved(NamedTuple):
    """The batch, whose interactions are columns: all their shoppers have rows now.

    `serves_ads` says of each interaction whether triggers may use it, None where all may be used.
    """

    removed: Removed
    interactions: EventColumns
    serves_ads: Sequence[bool] | None


class InteractionResolver:
    """Gives the shoppers of a batch's interactions rows, and notes in which cluster they were."""

    def __init__(self, shoppers: RowIndex, memberships: MembershipIndex, clock: EventClock) -> None:
        self._shoppers = shoppers
        self._memberships = memberships
        self._clock = clock

    def resolve(self, removed: Removed) -> Resolved:
        """Columns of the interactions.

        Order 3: merges and erasures come first: a user inherits session context and feedback of the
        shopper that it was before its new interactions are appended. `Removed` says that it is done.
        """
        items = removed.batch.items
        events = items.events
        if events.shoppers:
            self._clock.observe(max(events.at_ms))
            rows = self._shoppers.get_or_add_many(events.shoppers)
            events.segments = self._memberships.segments_of("cluster", rows)
        return Resolved(removed, events, items.serves_ads)


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
