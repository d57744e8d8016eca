"""From what the learners name to the list that is shown: blended, by the rules, a place explored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.rendering import reason_code
from operators.recommend.rules.category_cap import rank_in_category
from operators.tables.scored_lists import exclude, reorder, take
from state.interactions import ScoredLists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.recommend.blend import Blend
    from operators.recommend.candidates.popularity import Popularity
    from operators.recommend.exploration import Exploration, ExplorationSlots
    from operators.recommend.rules.rules import RuleChain
    from state.interactions import ListRequests

POPULAR_POOL = 4096
"""The most popular items, among which those of other categories are looked for."""


class ListAssembler:
    """What is done to learners' lists. What a list lacks is filled up with what is popular.

    With `allow_repeats` items of the session, the last `context_items` ones, may be in it.
    """

    def __init__(
        self,
        blend: Blend,
        rules: RuleChain,
        exploration: Exploration,
        popularity: Popularity,
        *,
        context_items: int,
        allow_repeats: bool,
    ) -> None:
        self._blend = blend
        self._rules = rules
        self._exploration = exploration
        self._popularity = popularity
        self._context_items = 0 if allow_repeats else context_items

    def assemble(
        self, requests: ListRequests, lists: Sequence[ScoredLists], k: int
    ) -> tuple[ScoredLists, ExplorationSlots | None]:
        """The learners' lists as the one of k that is shown, and what is tried in it."""
        assembled = self._rules.apply(
            requests, lambda most: self._blend.blend(requests, lists, most), self._fallback_items, k
        )
        if not self._exploration.is_on:
            return assembled, None
        return self._exploration.insert_explored(
            requests, lists, assembled, self._rules.hidden_mask
        )

    def _fallback_items(self, requests: ListRequests, k: int, per_category: int = 0) -> ScoredLists:
        """What is popular and can be had, for each request, so many at least where there are; if not 0,
        first so many of each category, then as many again."""
        wanted = k + self._context_items
        top = self._popularity.top(POPULAR_POOL if per_category else wanted, self._rules.sold_out())
        if per_category:
            round_index = rank_in_category(top.item, self._rules.item_features) // per_category
            order = np.argsort(
                np.where(top.item >= 0, round_index, POPULAR_POOL), axis=1, kind="stable"
            )
            top = take(reorder(top, order), slice(None), wanted)
        n, index = len(requests), self._blend.names.index(self._popularity.name)
        lists = ScoredLists(
            np.repeat(top.item, n, axis=0),
            np.repeat(top.score, n, axis=0),
            np.full((n, top.item.shape[1]), reason_code(index), np.int32),
        )
        return exclude(lists, requests.context) if self._context_items else lists
