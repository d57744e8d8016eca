"""The parts of the state that know shoppers or items, as the steps of removal take them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from operators.catalogue.recent_views import RecentViews
    from operators.publish.shop_stats import ShopStats
    from operators.recommend.recommender import Recommender
    from operators.segments.assignment import SegmentAssignment


class ShopperState(NamedTuple):
    """The parts of the state that know shoppers or items, and the statistics of who is active."""

    recommender: Recommender
    assignment: SegmentAssignment
    recent_views: RecentViews
    shop: ShopStats
