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
    from operators.publish.counters import Counters
    from operators.publish.definitions import Definitions
    from operators.publish.report_timer import ReportTimer
    from operators.publish.shop_stats import ShopStats
    from operators.recommend.recommender import Recommender
    from operators.segments.membership_index import MembershipIndex
    from state.messages import Write

DAY_STATS_KEPT_MS = DAY_MS + HOUR_MS
"""How long orders and past memberships are kept: statistics are of the last day."""
WHOLE_SHOP = -1


class Aggregates:
    """Publishes the aggregates of the parts that it is given, when the timer says so."""

    def __init__(
        self,
        recommender: Recommender,
        memberships: MembershipIndex,
        definitions: Definitions,
        shop: ShopStats,
        counters: Counters,
        timer: ReportTimer,
    ) -> None:
        self._timer = timer
        self._recommender = recommender
        self._memberships = memberships
        self._definitions = definitions
        self._shop = shop
        self._counters = counters
        self._scan = SegmentScan()
        self._lifts = SegmentLifts()

    @property
    def last_ms(self) -> int:
        """The reporting time at which they were due last. Stored."""
        return self._timer.last_ms

    def take_due(self, now_ms: int, *, live: bool, last: bool) -> bool:
        """Whether the aggregates are to be published now; then they are not due again for a while."""
        first = not self._definitions.are_published
        return self._timer.take_due(now_ms, live=live, first=first, last=last)

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
        events = self._counters.accepted
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
        writes += self._lifts.writes(memberships, self._recommender, now_ms, last=last)
        return writes + self._shop.stats_writes(
            self._counters, received_until_ms, watermark_ms, day.fields_of(WHOLE_SHOP)
        )
