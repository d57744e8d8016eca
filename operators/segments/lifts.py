"""What members of a segment look at more than everybody does: categories and items by lift.

Of a segment in turn, from evenly spread samples. A shopper counts once for each of the last items of
its last session. Everybody is looked at once a round.
"""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson

from operators.tables.top_partners import grow
from state import keys
from state.interactions import NO_ROW, RowIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_cards import ItemCards
    from operators.recommend.recommender import Recommender
    from operators.segments.membership_index import MembershipIndex
    from state.interactions import Rows
    from state.messages import Write

    Counted = NDArray[np.int64]

MEMBERS_MAX, EVERYBODY_MAX = 1024, 4096
"""Shoppers in a sample."""
SUPPORT_MIN = 10
"""What fewer of a sample looked at is not told of."""
ALPHA = 0.01
"""So rarely is anything told of a segment that is like everybody, however much there is to look at."""
LIFTS_MAX = 10


ITEMS_PER_BATCH = 1024
"""Items whose categories are looked up anew at a time, all of them in turn."""


class ViewCounts(NamedTuple):
    """How many shoppers looked at anything, and how many at each category and item, by place."""

    shoppers: int
    categories: Counted
    items: Counted


class SegmentLifts:
    """Everybody as of this round, whose turn it is, and the category of each item. Not stored."""

    def __init__(self) -> None:
        self._everybody = ViewCounts(0, np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._next_segment = self._next_item = 0
        self._categories = RowIndex()
        self._category: Rows = np.empty(0, np.int32)

    def writes(
        self,
        memberships: MembershipIndex,
        recommender: Recommender,
        cards: ItemCards,
        now_ms: int,
        *,
        last: bool,
    ) -> list[Write]:
        """What sets one segment apart, at last each."""
        ids = memberships.registry.ids
        self._refresh_categories(recommender.items.ids, cards, None if last else ITEMS_PER_BATCH)
        if last or self._next_segment >= len(ids):
            self._next_segment = 0
        if not self._next_segment:
            all_rows = np.arange(recommender.session_contexts.rows, dtype=np.int32)
            self._everybody = self._count_views(_even_sample(all_rows, EVERYBODY_MAX), recommender)
        turns = range(
            self._next_segment, len(ids) if last else min(self._next_segment + 1, len(ids))
        )
        self._next_segment = turns.stop
        everybody = self._everybody
        writes: list[Write] = []
        for segment in turns:
            if not memberships.registry.is_active(segment):
                continue
            own = self._count_views(
                _even_sample(memberships.members(segment), MEMBERS_MAX), recommender
            )
            document: dict[str, object] = {"at": now_ms}
            for kind, names in (
                ("categories", self._categories.ids),
                ("items", recommender.items.ids),
            ):
                counts, overall = getattr(own, kind), getattr(everybody, kind)
                document[kind] = _significant_lifts(
                    names, counts, own.shoppers, overall, everybody.shoppers
                )
            writes.append(("SET", keys.lifts_key(ids[segment]), orjson.dumps(document).decode()))
        return writes

    def _refresh_categories(
        self, items: Sequence[str], cards: ItemCards, limit: int | None
    ) -> None:
        """The categories of some items, or of all."""
        self._category = grow(self._category, len(items), NO_ROW)
        begin = 0 if limit is None or self._next_item >= len(items) else self._next_item
        end = len(items) if limit is None else min(begin + limit, len(items))
        found_cards = [cards.by_id.get(item) for item in items[begin:end]]
        self._category[begin:end] = [
            self._categories.get_or_add("/".join(card.category))
            if card and card.category
            else NO_ROW
            for card in found_cards
        ]
        self._next_item = end

    def _count_views(self, rows: Rows, recommender: Recommender) -> ViewCounts:
        """What shoppers looked at, by row."""
        recent = recommender.session_contexts.lookup(rows)
        recent = recent[recent[:, 0] != NO_ROW]
        category = np.where(recent != NO_ROW, self._category[recent], NO_ROW)
        return ViewCounts(
            len(recent),
            _count_shoppers(category, len(self._categories.ids)),
            _count_shoppers(recent, len(recommender.items.ids)),
        )


def _count_shoppers(things: Rows, length: int) -> Counted:
    """How many rows there are with each thing, however often it comes in one."""
    things = np.sort(things, axis=1)
    is_first = things != NO_ROW
    is_first[:, 1:] &= things[:, 1:] != things[:, :-1]
    return np.bincount(things[is_first], minlength=length)


def _even_sample(rows: Rows, limit: int) -> Rows:
    """At most so many rows, evenly spread."""
    if len(rows) <= limit:
        return rows
    return rows[np.arange(limit) * len(rows) // limit]


def _significant_lifts(
    names: Sequence[str], counts: Counted, shoppers: int, overall: Counted, everybody: int
) -> list[tuple[str, float, float]]:
    """Name, lift and share of members of what they like more than everybody, the most first."""
    lifts: list[tuple[str, float, float]] = []
    both = min(len(counts), len(overall))
    known = overall[:both] >= SUPPORT_MIN
    candidates = np.flatnonzero((counts[:both] >= SUPPORT_MIN) & known)
    # Two samples, and as many questions as there are things: Bonferroni's correction.
    sigmas = NormalDist().inv_cdf(1 - ALPHA / max(int(known.sum()), 1))
    for thing in candidates.tolist():
        count, count_overall = int(counts[thing]), int(overall[thing])
        share, share_overall = count / shoppers, count_overall / everybody
        pooled = (count + count_overall) / (shoppers + everybody)
        deviation = sqrt(pooled * (1 - pooled) * (1 / shoppers + 1 / everybody))
        if share > share_overall + sigmas * deviation:
            lifts.append((names[thing], round(share / share_overall, 2), round(share, 4)))
    return sorted(lifts, key=lambda one: (-one[1], one[0]))[:LIFTS_MAX]
