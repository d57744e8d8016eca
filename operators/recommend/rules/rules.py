"""The list rules in the order in which they are applied: this file is the list of them.

1. Filters hide what a shopper must not see.
2. Rerankers change the order.
3. The category cap comes last, after the list is filled up: so nothing can come in that breaks it.

Popular items fill up what a list loses. The configuration turns each rule on and off (`lists.rules`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.rules.already_bought import WAYS, AlreadyBought
from operators.recommend.rules.category_cap import CategoryCap
from operators.recommend.rules.diversity import Diversity
from operators.recommend.rules.out_of_stock import OutOfStock
from operators.recommend.rules.own_brand import OwnBrand
from operators.tables.scored_lists import drop, fill, take, widen

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags, ItemFeatures
    from operators.recommend.rules.base import ItemFilter, Reranker
    from operators.recommend.rules.fallback import PopularFallback
    from state.arrays import Rows
    from state.config_lists import ListRules
    from state.interactions import Interactions, ListRequests, ScoredLists

CANDIDATES_FACTOR = 2
"""The rules get so many times as many candidates as a list shows."""
FALLBACK_FACTOR = 4
"""So many times as many popular items as a list shows are searched for other categories."""


class RuleChain:
    """The rules of a configuration. `own_brand` is the reason code of an item that a boost moved up."""

    def __init__(
        self,
        settings: ListRules,
        item_features: ItemFeatures,
        fallback: PopularFallback,
        own_brand: int,
    ) -> None:
        self._item_features = item_features
        self._fallback = fallback
        self.already_bought = AlreadyBought(settings.already_bought, item_features)
        self.out_of_stock = OutOfStock(settings.out_of_stock, item_features)
        self.filters: tuple[ItemFilter, ...] = (
            self.already_bought,
            self.out_of_stock,
        )
        self.rerankers: tuple[Reranker, ...] = (
            OwnBrand(settings.own_brand, item_features, own_brand),
            Diversity(settings.diversity, item_features),
        )
        self.category_cap = CategoryCap(settings.category_cap, item_features)

    def learn(self, batch: Interactions) -> None:
        """Learn who bought what."""
        self.already_bought.learn_many(batch)

    def candidates_needed(self, k: int) -> int:
        """The length of the lists that `apply` needs to make lists of k items."""
        return CANDIDATES_FACTOR * k if self._has_filters or self._has_rerankers else k

    def apply(self, requests: ListRequests, lists: ScoredLists, k: int) -> ScoredLists:
        """Lists of k items from longer ones, in the order of the module docstring."""
        has_filters, has_rerankers = self._has_filters, self._has_rerankers
        if not (has_filters or has_rerankers):
            return lists
        if has_filters:
            lists = drop(lists, self.hidden_mask(requests, lists.item))
        if has_rerankers:
            # The cap may need every candidate, else k are enough.
            wanted = lists.item.shape[1] if self.category_cap.is_active else k
            for rule in self.rerankers:
                if rule.is_active:
                    lists = rule.rerank(lists, wanted)
            if self.category_cap.is_active:
                return self._apply_category_cap(requests, lists, k)
        lists = take(lists, slice(None), k)
        short = np.flatnonzero(lists.item[:, -1] < 0)
        if has_filters and len(short):
            self._fill_up(requests, lists, short, k + WAYS)
        return lists

    def hidden_mask(self, requests: ListRequests, item: Rows) -> Flags:
        """True where lists [n, w] hold an item that their shopper must not see."""
        hidden = np.zeros(item.shape, np.bool_)
        for rule in self.filters:
            if rule.is_active:
                hidden |= rule.hidden_mask(requests, item)
        return hidden

    @property
    def _has_filters(self) -> bool:
        return any(rule.is_active for rule in self.filters)

    @property
    def _has_rerankers(self) -> bool:
        """Whether the order may change: without any card there is nothing to go by."""
        is_on = self.category_cap.is_active or any(rule.is_active for rule in self.rerankers)
        return is_on and len(self._item_features.category) > 0

    def _apply_category_cap(
        self, requests: ListRequests, lists: ScoredLists, k: int
    ) -> ScoredLists:
        """Lists of k items under the cap, with popular items where the candidates do not suffice."""
        short = np.flatnonzero(self.category_cap.too_short(lists, k))
        if len(short):
            per_category = self.category_cap.settings.most
            lists = self._fill_up(requests, lists, short, FALLBACK_FACTOR * k + WAYS, per_category)
        return take(self.category_cap.cap(lists), slice(None), k)

    def _fill_up(
        self,
        requests: ListRequests,
        lists: ScoredLists,
        short: NDArray[np.intp],
        wanted: int,
        per_category: int = 0,
    ) -> ScoredLists:
        """Append `wanted` popular items, if they are not hidden, to the `short` lists.

        The lists keep their length and are changed in place. With `per_category` they are copied and get
        long enough for all popular items: the cap then takes what it may.
        """
        short_requests = requests.subset(short)
        excluded = self.out_of_stock.rows()
        popular = self._fallback.lists(short_requests, wanted, excluded, per_category)
        if per_category:
            lists = widen(lists, lists.item.shape[1] + popular.item.shape[1])
        width = lists.item.shape[1]
        popular = drop(popular, self.hidden_mask(short_requests, popular.item))
        complete = fill(take(lists, short, width), popular, width)
        lists.item[short], lists.score[short] = complete.item, complete.score
        lists.reason_item[short] = complete.reason_item
        return lists
