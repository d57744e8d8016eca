"""Aggregates, published now and then: popular lists, definitions, statistics, models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.publish import segment_stats
from operators.publish.models import list_model_writes
from operators.publish.popular import popular_writes
from operators.segments.lifts import SegmentLifts
from operators.segments.segment_scan import SegmentScan
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from operators.catalogue.item_cards import ItemCards
    from operators.publish.counters import Counters
    from operators.publish.definitions import Definitions
    from operators.publish.models import ClusterReport
    from operators.publish.shop_stats import ShopStats
    from operators.recommend.recommender import Recommender
    from operators.segments.membership_index import MembershipIndex
    from operators.segments.propensity.propensity import PropensityModels
    from state.messages import Write

RECORDED_EVENTS_MIN = 2_048
"""Events of a recording between updates of the aggregates, in whole batches. Its event time passes far
faster than the clock: in small batches every one would be due, and cost more than its events."""
DAY_STATS_KEPT_MS = DAY_MS + HOUR_MS
"""How long orders and past memberships are kept: statistics are of the last day."""
WHOLE_SHOP = -1


class Aggregates:
    """Publishes the aggregates of the parts that it is given.

    `last_ms` is the reporting time at which they were due last. Stored.
    `batch_numbers` says how many batches came from each partition, with this one: a recording that
    resumes publishes with the same batches.
    """

    def __init__(
        self,
        recommender: Recommender,
        item_cards: ItemCards,
        memberships: MembershipIndex,
        propensity: PropensityModels,
        definitions: Definitions,
        cluster_report: ClusterReport,
        shop: ShopStats,
        counters: Counters,
        *,
        batch_numbers: Mapping[str, int],
        batch_events: int,
        every_ms: int,
        last_ms: int = 0,
    ) -> None:
        self.last_ms = last_ms
        self._batch_numbers = batch_numbers
        self._every_batches = -(-RECORDED_EVENTS_MIN // batch_events)
        self._every_ms = every_ms
        self._recommender = recommender
        self._item_cards = item_cards
        self._memberships = memberships
        self._propensity = propensity
        self._definitions = definitions
        self._cluster_report = cluster_report
        self._shop = shop
        self._counters = counters
        self._scan = SegmentScan()
        self._lifts = SegmentLifts()

    def take_due(self, now_ms: int, *, live: bool, last: bool) -> bool:
        """Whether the aggregates are to be published now; then they are not due again for a while."""
        is_due = now_ms - self.last_ms >= self._every_ms
        if live:
            is_due = is_due or not self._definitions.are_published
        elif sum(self._batch_numbers.values()) % self._every_batches:
            is_due = False
        if not is_due and not last:
            return False
        self.last_ms = now_ms
        return True

    def writes(
        self,
        newest_event_ms: int,
        reporting_time_ms: int,
        received_until_ms: int,
        watermark_ms: int,
        *,
        last: bool,
    ) -> list[Write]:
        """All aggregates that changed; with the `last` batch of a recording all there are."""
        writes = popular_writes(self._recommender.components.popular_lists, reporting_time_ms)
        writes += self._definitions.writes(newest_event_ms)
        if self._memberships.rows or received_until_ms > 0:
            writes += self._segment_writes(
                reporting_time_ms, received_until_ms, watermark_ms, last=last
            )
        writes += self._propensity.model_writes(reporting_time_ms)
        events = self._counters.accepted
        writes += self._cluster_report.writes(events, newest_event_ms, last=last)
        return writes + list_model_writes(self._recommender, events, newest_event_ms)

    def _segment_writes(
        self, now_ms: int, received_until_ms: int, watermark_ms: int, *, last: bool
    ) -> list[Write]:
        """The statistics of segments and of the shop."""
        memberships = self._memberships
        scanned = self._scan.scan(memberships, now_ms, last=last)
        day = segment_stats.day_stats(memberships, scanned, now_ms)
        writes = segment_stats.stats_writes(
            memberships, day, now_ms, received_until_ms, watermark_ms
        )
        memberships.activity.drop_before(now_ms - DAY_STATS_KEPT_MS)
        writes += self._scan.overlap_writes(memberships, last=last)
        writes += self._lifts.writes(
            memberships, self._recommender, self._item_cards, now_ms, last=last
        )
        return writes + self._shop.stats_writes(
            self._counters, received_until_ms, watermark_ms, day.fields_of(WHOLE_SHOP)
        )
