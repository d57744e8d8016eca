"""From what the learners name to the list that is shown: blended, by the rules, a place explored."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.rendering import reason_row
from operators.recommend.rules.category_cap import rank_of_kind
from operators.tables.array_ops import reordered, taken, without
from state.interactions import Lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.recommend.blend import Blend
    from operators.recommend.candidates.popularity import Popularity
    from operators.recommend.exploration import Exploration, Explored
    from operators.recommend.rules.rules import Rules
    from state.interactions import Requests

POOL = 4096
"""The most popular items, among which those of other categories are looked for."""


class Listing:
    """What is done to learners' lists. What a list lacks is filled up with what is popular.

    With `allow_repeats` items of the session, the last `reach` ones, may be in it.
    """

    def __init__(
        self,
        blend: Blend,
        rules: Rules,
        exploration: Exploration,
        popularity: Popularity,
        *,
        reach: int,
        allow_repeats: bool,
    ) -> None:
        self._blend = blend
        self._rules = rules
        self._exploration = exploration
        self._popularity = popularity
        self._reach = 0 if allow_repeats else reach

    def listed(
        self, requests: Requests, lists: Sequence[Lists], k: int
    ) -> tuple[Lists, Explored | None]:
        """The learners' lists as the one of k that is shown, and what is tried in it."""
        shown = self._rules.listed(
            requests, lambda most: self._blend.mix(requests, lists, most), self._popular, k
        )
        if not self._exploration.is_on:
            return shown, None
        return self._exploration.shown(requests, lists, shown, self._rules.hidden)

    def _popular(self, requests: Requests, k: int, most: int = 0) -> Lists:
        """What is popular and can be had, for each request, so many at least where there are; if not 0,
        first so many of each category, then as many again."""
        wanted = k + self._reach
        top = self._popularity.top(POOL if most else wanted, self._rules.sold_out())
        if most:
            turn = rank_of_kind(top.item, self._rules.facts) // most
            order = np.argsort(np.where(top.item >= 0, turn, POOL), axis=1, kind="stable")
            top = taken(reordered(top, order), slice(None), wanted)
        n, place = len(requests), self._blend.names.index(self._popularity.name)
        lists = Lists(
            np.repeat(top.item, n, axis=0),
            np.repeat(top.score, n, axis=0),
            np.full((n, top.item.shape[1]), reason_row(place), np.int32),
        )
        return without(lists, requests.context) if self._reach else lists
