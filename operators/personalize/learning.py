"""Learns the interactions, the feedback and the orders of a batch; finds the item alerts that follow."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.catalogue.item_alerts import triggered_changes
from operators.personalize.interactions import feedback_columns
from operators.personalize.removal import remove_items
from state.interactions import PURCHASE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.catalogue.recent_views import RecentViews
    from operators.events.processing_errors import ProcessingErrors
    from operators.personalize.batch import Batch
    from operators.personalize.interactions import Resolved
    from operators.personalize.segmentation import Segmented
    from operators.recommend.recommender import Recommender
    from operators.segments.membership_index import MembershipIndex
    from operators.tables.removal import Removable
    from state.changes import Change
    from state.config import Triggers
    from state.interactions import Interactions


class Learned(NamedTuple):
    """The segmented batch, whose interactions are learned, and all changes so far."""

    segmented: Segmented
    changes: list[Change]


class Learning:
    """Updates the recommender, recent views and order statistics. Changes their state in place.

    `item_parts` keep something of items. `already_published` are the alerts that a crashed run published
    of events that come again.
    """

    def __init__(
        self,
        recommender: Recommender,
        memberships: MembershipIndex,
        recent_views: RecentViews,
        errors: ProcessingErrors,
        item_parts: Sequence[Removable],
        *,
        triggers: Triggers,
        already_published: frozenset[Change],
    ) -> None:
        self._recommender = recommender
        self._memberships = memberships
        self._recent_views = recent_views
        self._errors = errors
        self._item_parts = item_parts
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
        self._learn_interactions(resolved)
        # Order 9: alerts come after the views. A view in this batch decides who is alerted of a price
        # drop in it. (No type says so: views are kept in a ring that alerts look into.)
        alerts = self._errors.call_or_default("triggers", [], self._alerts, batch)
        with isolate("orders"):
            self._count_orders(batch)
        alerts = [alert for alert in alerts if alert not in self._already_published]
        return Learned(segmented, [*segmented.changes, *alerts])

    def _learn_interactions(self, resolved: Resolved) -> None:
        """Learn what shoppers did with items; views that may not serve ads are not kept for alerts."""
        recommender, items = self._recommender, resolved.removed.batch.items
        batch: Interactions | None = None
        # Order 8: evaluate, then write what was trained over the replica, then learn: learners are
        # evaluated by what was known before the batch.
        if resolved.interactions.shoppers:
            with self._errors.isolate("lists"):
                batch = recommender.evaluate(resolved.interactions, items.item, items.context)
        for update in items.updates:
            recommender.write_replica(update.trained.changes)
            if update is not items.updates[-1]:
                # The next batch may have given these rows to other items.
                remove_items(self._item_parts, update.removed)
                recommender.write_replica(update.after_removal)
        if batch is not None:
            with self._errors.isolate("lists"):
                self._learn_batch(resolved, batch)

    def _learn_batch(self, resolved: Resolved, learned: Interactions) -> None:
        self._recommender.learn_batch(resolved.interactions, learned)
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

    def _alerts(self, batch: Batch) -> list[Change]:
        """Changes that alert the viewers of items of what happened to these items."""
        return triggered_changes(
            batch.items.catalogue_events,
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
