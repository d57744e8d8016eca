"""Categories and items that a segment's members view more often than all shoppers: their lift.

One segment a call, in turn, from evenly spread samples. A shopper counts once for each of the last
items of its last session. The sample of all shoppers is taken again in each round.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson

from state import keys
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.recommend.recommender import Recommender
    from operators.segments.membership_index import MembershipIndex
    from state.arrays import Rows
    from state.messages import Write

    Counted = NDArray[np.int64]

MEMBERS_MAX, ALL_SHOPPERS_MAX = 1024, 4096
"""Shoppers in a sample."""
SUPPORT_MIN = 10
"""The number of viewers in a sample below which nothing is reported."""
ALPHA = 0.01
"""The chance that anything is reported of a segment that is like all shoppers, whatever the number
of items."""
LIFTS_MAX = 10


class ViewCounts(NamedTuple):
    """The number of shoppers who viewed anything, and of viewers of each category and item, by
    row."""

    shoppers: int
    categories: Counted
    items: Counted


class SegmentLifts:
    """The sample of all shoppers of this round, and the next segment. Not stored."""

    def __init__(self) -> None:
        self._all_shoppers = ViewCounts(0, np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._next_segment = 0

    def writes(
        self,
        memberships: MembershipIndex,
        recommender: Recommender,
        now_ms: int,
        *,
        last: bool,
    ) -> list[Write]:
        """Return the lifts of one segment, with `last` of all."""
        ids = memberships.registry.ids
        if last or self._next_segment >= len(ids):
            self._next_segment = 0
        if not self._next_segment:
            all_rows = np.arange(recommender.components.session_contexts.rows, dtype=np.int32)
            self._all_shoppers = self._count_views(
                _even_sample(all_rows, ALL_SHOPPERS_MAX), recommender
            )
        turns = range(
            self._next_segment, len(ids) if last else min(self._next_segment + 1, len(ids))
        )
        self._next_segment = turns.stop
        everyone = self._all_shoppers
        writes: list[Write] = []
        for segment in turns:
            if not memberships.registry.is_active(segment):
                continue
            own = self._count_views(
                _even_sample(memberships.members(segment), MEMBERS_MAX), recommender
            )
            document: dict[str, object] = {"at": now_ms}
            for kind, names in (
                ("categories", recommender.components.item_features.categories.ids),
                ("items", recommender.items.ids),
            ):
                counts, overall = getattr(own, kind), getattr(everyone, kind)
                document[kind] = _significant_lifts(
                    names, counts, own.shoppers, overall, everyone.shoppers
                )
            writes.append(("SET", keys.lifts_key(ids[segment]), orjson.dumps(document).decode()))
        return writes

    def _count_views(self, rows: Rows, recommender: Recommender) -> ViewCounts:
        """Count the viewers of categories and items among the shoppers of rows."""
        recent = recommender.components.session_contexts.lookup(rows)
        recent = recent[recent[:, 0] != NO_ROW]
        features = recommender.components.item_features
        category = np.where(recent != NO_ROW, features.category[recent], NO_ROW)
        return ViewCounts(
            len(recent),
            _count_shoppers(category, len(features.categories.ids)),
            _count_shoppers(recent, len(recommender.items.ids)),
        )


def _count_shoppers(things: Rows, length: int) -> Counted:
    """Count the rows that contain each thing, once each."""
    things = np.sort(things, axis=1)
    is_first = things != NO_ROW
    is_first[:, 1:] &= things[:, 1:] != things[:, :-1]
    return np.bincount(things[is_first], minlength=length)


def _even_sample(rows: Rows, limit: int) -> Rows:
    """Return at most `limit` rows, evenly spread."""
    if len(rows) <= limit:
        return rows
    return rows[np.arange(limit) * len(rows) // limit]


def _significant_lifts(
    names: Sequence[str], counts: Counted, shoppers: int, overall: Counted, all_shoppers: int
) -> list[tuple[str, float, float]]:
    """Return name, lift and members' share of what the lift of is significant, the highest lift
    first."""
    lifts: list[tuple[str, float, float]] = []
    both = min(len(counts), len(overall))
    known = overall[:both] >= SUPPORT_MIN
    candidates = np.flatnonzero((counts[:both] >= SUPPORT_MIN) & known)
    # Two samples are compared, once for each thing: Bonferroni's correction.
    sigmas = NormalDist().inv_cdf(1 - ALPHA / max(int(known.sum()), 1))
    for thing in candidates.tolist():
        count, count_overall = int(counts[thing]), int(overall[thing])
        share, share_overall = count / shoppers, count_overall / all_shoppers
        pooled = (count + count_overall) / (shoppers + all_shoppers)
        deviation = sqrt(pooled * (1 - pooled) * (1 / shoppers + 1 / all_shoppers))
        if share > share_overall + sigmas * deviation:
            lifts.append((names[thing], round(share / share_overall, 2), round(share, 4)))
    return sorted(lifts, key=lambda one: (-one[1], one[0]))[:LIFTS_MAX]
