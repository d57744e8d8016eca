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

from operators.tables.top_partners import grown
from state import keys
from state.interactions import NOBODY, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_cards import Cards
    from operators.recommend.recommender import Recommender
    from operators.segments.membership_index import Audience
    from state.interactions import Rows
    from state.messages import Write

    Counted = NDArray[np.int64]

MEMBERS_MOST, EVERYBODY_MOST = 1024, 4096
"""Shoppers in a sample."""
SUPPORT = 10
"""What fewer of a sample looked at is not told of."""
BY_CHANCE = 0.01
"""So rarely is anything told of a segment that is like everybody, however much there is to look at."""
TOLD = 10


ITEMS_AT_ONCE = 1024
"""Items whose categories are looked up anew at a time, all of them in turn."""


class Looked(NamedTuple):
    """How many shoppers looked at anything, and how many at each category and item, by place."""

    shoppers: int
    categories: Counted
    items: Counted


class Lifts:
    """Everybody as of this round, whose turn it is, and the category of each item. Not stored."""

    def __init__(self) -> None:
        self._everybody = Looked(0, np.zeros(0, np.int64), np.zeros(0, np.int64))
        self._turn = self._items_at = 0
        self._categories = Vocabulary()
        self._category: Rows = np.empty(0, np.int32)

    def writes(
        self, audience: Audience, recommender: Recommender, cards: Cards, now_ms: int, *, last: bool
    ) -> list[Write]:
        """What sets one segment apart, at last each."""
        ids = audience.roster.ids
        self._look_up(recommender.items.ids, cards, None if last else ITEMS_AT_ONCE)
        if last or self._turn >= len(ids):
            self._turn = 0
        if not self._turn:
            everybody = np.arange(recommender.contexts.rows, dtype=np.int32)
            self._everybody = self._looked(_spread(everybody, EVERYBODY_MOST), recommender)
        turns = range(self._turn, len(ids) if last else min(self._turn + 1, len(ids)))
        self._turn = turns.stop
        everybody_at = self._everybody
        writes: list[Write] = []
        for place in turns:
            if not audience.roster.is_living(place):
                continue
            own = self._looked(_spread(audience.members(place), MEMBERS_MOST), recommender)
            told: dict[str, object] = {"at": now_ms}
            for kind, names in (
                ("categories", self._categories.ids),
                ("items", recommender.items.ids),
            ):
                counts, of_all = getattr(own, kind), getattr(everybody_at, kind)
                told[kind] = _apart(names, counts, own.shoppers, of_all, everybody_at.shoppers)
            writes.append(("SET", keys.lifts_key(ids[place]), orjson.dumps(told).decode()))
        return writes

    def _look_up(self, items: Sequence[str], cards: Cards, most: int | None) -> None:
        """The categories of some items, or of all."""
        self._category = grown(self._category, len(items), NOBODY)
        begin = 0 if most is None or self._items_at >= len(items) else self._items_at
        end = len(items) if most is None else min(begin + most, len(items))
        found = [cards.rows.get(item) for item in items[begin:end]]
        self._category[begin:end] = [
            self._categories.row("/".join(card.category)) if card and card.category else NOBODY
            for card in found
        ]
        self._items_at = end

    def _looked(self, rows: Rows, recommender: Recommender) -> Looked:
        """What shoppers looked at, by row."""
        recent = recommender.contexts.take(rows)
        recent = recent[recent[:, 0] != NOBODY]
        category = np.where(recent != NOBODY, self._category[recent], NOBODY)
        return Looked(
            len(recent),
            _shoppers(category, len(self._categories.ids)),
            _shoppers(recent, len(recommender.items.ids)),
        )


def _shoppers(what: Rows, things: int) -> Counted:
    """How many rows there are with each thing, however often it comes in one."""
    what = np.sort(what, axis=1)
    first = what != NOBODY
    first[:, 1:] &= what[:, 1:] != what[:, :-1]
    return np.bincount(what[first], minlength=things)


def _spread(rows: Rows, most: int) -> Rows:
    """At most so many rows, evenly spread."""
    if len(rows) <= most:
        return rows
    return rows[np.arange(most) * len(rows) // most]


def _apart(
    names: Sequence[str], counts: Counted, shoppers: int, of_all: Counted, everybody: int
) -> list[tuple[str, float, float]]:
    """Name, lift and share of members of what they like more than everybody, the most first."""
    found: list[tuple[str, float, float]] = []
    both = min(len(counts), len(of_all))
    known = of_all[:both] >= SUPPORT
    some = np.flatnonzero((counts[:both] >= SUPPORT) & known)
    # Two samples, and as many questions as there are things: Bonferroni's correction.
    sigmas = NormalDist().inv_cdf(1 - BY_CHANCE / max(int(known.sum()), 1))
    for place in some.tolist():
        count, others = int(counts[place]), int(of_all[place])
        share, usual = count / shoppers, others / everybody
        pooled = (count + others) / (shoppers + everybody)
        deviation = sqrt(pooled * (1 - pooled) * (1 / shoppers + 1 / everybody))
        if share > usual + sigmas * deviation:
            found.append((names[place], round(share / usual, 2), round(share, 4)))
    return sorted(found, key=lambda one: (-one[1], one[0]))[:TOLD]
