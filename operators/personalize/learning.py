"""Learns the interactions, the feedback and the orders of a batch; finds the item alerts that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.catalogue.item_alerts import triggered_changes
from operators.personalize.interactions import feedback_columns
from state.interactions import PURCHASE

if TYPE_CHECKING:
    from operators.catalogue.item_cards import ItemCards
    from operators.catalogue.recent_views import RecentViews
    from operators.events.processing_errors import ProcessingErrors
    from operators.personalize.batch import Batch
    from operators.personalize.interactions import Resolved
    from operators.personalize.segmentation import Segmented
    from operators.recommend.recommender import Recommender
    from operators.segments.membership_index import MembershipIndex
    from state.changes import Change
    from state.config import Triggers


class Learned(NamedTuple):
    """The segmented batch, whose interactions are learned, and all changes so far."""

    segmented: Segmented
    changes: list[Change]


class Learning:
    """Updates the recommender, recent views and order statistics. Changes their state in place.

    `already_published` are the alerts that a crashed run published of events that come again.
    """

    def __init__(
        self,
        recommender: Recommender,
        memberships: MembershipIndex,
        item_cards: ItemCards,
        recent_views: RecentViews,
        errors: ProcessingErrors,
        *,
        triggers: Triggers,
        already_published: frozenset[Change],
    ) -> None:
        self._recommender = recommender
        self._memberships = memberships
        self._item_cards = item_cards
        self._recent_views = recent_views
        self._errors = errors
        self._triggers = triggers
        self._already_published = already_published

    def learn(self, segmented: Segmented) -> Learned:
        """Learn feedback, interactions and orders, in this order."""
        resolved = segmented.resolved
        batch = resolved.removed.batch
        isolate, recommender = self._errors.isolate, self._recommender
        # Order 7: feedback comes first. It counts for items as they were known before the batch: of an
        # item that is new with this batch nothing has been shown yet. (No type says so: both are
        # methods of the recommender, which takes them in any order.)
        with isolate("signals"):
            recommender.observe_feedback(
                feedback_columns(batch.feedback, recommender.shoppers, recommender.items)
            )
        with isolate("lists"):
            self._learn_interactions(resolved)
        # Order 9: alerts come after the views. A view in this batch decides who is alerted of a price
        # drop in it. (No type says so: views are kept in a ring that alerts look into.)
        alerts = self._errors.call_or_default("triggers", [], self._alerts)
        with isolate("orders"):
            self._count_orders(batch)
        alerts = [alert for alert in alerts if alert not in self._already_published]
        return Learned(segmented, [*segmented.changes, *alerts])

    def _learn_interactions(self, resolved: Resolved) -> None:
        """Learn what shoppers did with items; views that may not serve ads are not kept for alerts."""
        # Order 8 is inside `Recommender.learn`: evaluate, then learn, then update the items' features.
        learned = self._recommender.learn(resolved.interactions)
        if learned is None:
            return
        self._recommender.components.online_evaluation.evaluate_clicks(learned, self._segments_of)
        chosen = (
            slice(None) if resolved.serves_ads is None else np.array(resolved.serves_ads, np.bool_)
        )
        self._recent_views.add(
            learned.shopper[chosen],
            learned.item[chosen],
            learned.at_ms[chosen],
            learned.kind[chosen] == PURCHASE,
        )

    def _alerts(self) -> list[Change]:
        """Changes that alert the viewers of items of what happened to these items."""
        return triggered_changes(
            self._item_cards.take_catalogue_events(),
            self._triggers,
            self._recommender.items,
            self._recommender.shoppers,
            self._recent_views,
            self._memberships.is_known,
        )

    def _count_orders(self, batch: Batch) -> None:
        """Count orders for the segments of their shoppers; take back those that two shoppers had both
        counted who are one now."""
        memberships, shoppers = self._memberships, self._recommender.shoppers
        memberships.activity.recount_late_changes()
        for order in batch.orders:
            memberships.count_order(
                shoppers.get_or_add(order.shopper), order.value_micros, order.at_ms
            )
        for order in batch.double_counted_orders:
            memberships.activity.retract_order(
                shoppers.get(order.shopper), order.value_micros, order.at_ms
            )

    def _segments_of(self, row: int) -> list[str]:
        return [segment for segment, _ in self._memberships.memberships_of(row)]
