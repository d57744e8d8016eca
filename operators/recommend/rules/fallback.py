"""Popular items, which fill up the lists that are too short after the rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.rules.category_cap import rank_in_category
from operators.tables.scored_lists import exclude, reorder, take
from state.interactions import ScoredLists

if TYPE_CHECKING:
    from operators.catalogue.item_features import ItemFeatures
    from operators.recommend.candidates.popularity import Popularity
    from state.arrays import Rows
    from state.interactions import ListRequests

POPULAR_POOL = 4096
"""The most popular items, which are searched for items of other categories."""


class PopularFallback:
    """The most popular items as lists. `reason` is the reason code of popularity.

    If `context_items` is not 0, a list leaves out the last so many items of its shopper's session.
    """

    def __init__(
        self, popularity: Popularity, item_features: ItemFeatures, reason: int, context_items: int
    ) -> None:
        self._popularity = popularity
        self._item_features = item_features
        self._reason = reason
        self._context_items = context_items

    def lists(
        self, requests: ListRequests, k: int, excluded: Rows, per_category: int = 0
    ) -> ScoredLists:
        """At least k popular items a request, if there are as many, without those `excluded`.

        If `per_category` is not 0, the first so many of each category come first, then as many again of
        each, and so on.
        """
        wanted = k + self._context_items
        top = self._popularity.top(POPULAR_POOL if per_category else wanted, excluded)
        if per_category:
            round_index = rank_in_category(top.item, self._item_features) // per_category
            order = np.argsort(
                np.where(top.item >= 0, round_index, POPULAR_POOL), axis=1, kind="stable"
            )
            top = take(reorder(top, order), slice(None), wanted)
        n = len(requests)
        lists = ScoredLists(
            np.repeat(top.item, n, axis=0),
            np.repeat(top.score, n, axis=0),
            np.full((n, top.item.shape[1]), self._reason, np.int32),
        )
        return exclude(lists, requests.context) if self._context_items else lists
