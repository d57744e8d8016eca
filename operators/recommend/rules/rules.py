"""The rules of a list, in the order in which they are applied; each can be turned off.

First goes what must not be shown, then comes what is to be earlier, then goes back what would be too
much of one kind. What a list loses is filled up with what is popular.

The cap comes last, over all that a list may be filled up with: nothing comes in behind its back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.rules import out_of_stock
from operators.recommend.rules.already_bought import WAYS, AlreadyBought
from operators.recommend.rules.category_cap import cap_categories, leading_mask
from operators.recommend.rules.diversity import diversify
from operators.recommend.rules.own_brand import boost_own_brands
from operators.tables.scored_lists import drop, fill, take, widen
from state.arrays import NO_ROW
from state.times import MINUTE_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags, ItemFeatures
    from operators.recommend.fallback import PopularFallback
    from state.arrays import Rows
    from state.config_lists import ListRules
    from state.interactions import Interactions, ListRequests, ScoredLists

CANDIDATES_FACTOR = 2
"""So many times as many candidates as are shown go into the rules."""
FALLBACK_FACTOR = 4
"""So many times as many popular items as are shown are looked through for other categories."""


class RuleChain:
    """The rules that a configuration sets. `own_brand` is the `because` of what a boost moved up."""

    def __init__(
        self,
        settings: ListRules,
        item_features: ItemFeatures,
        fallback: PopularFallback,
        own_brand: int,
    ) -> None:
        self.settings = settings
        self._fallback = fallback
        self.item_features = item_features
        self.already_bought = AlreadyBought(settings.already_bought.pairs_max)
        self._own_brand = own_brand

    def learn(self, batch: Interactions) -> None:
        """Learn who bought what: reasons say so too."""
        self.already_bought.learn_many(batch)

    def merge_or_erase(self, shopper: int, merged_into: int) -> None:
        """A shopper is no more; the heir, if any, is who it turned out to be."""
        if shopper != NO_ROW:
            self.already_bought.pairs.merge_or_erase(shopper, merged_into)

    def candidates_needed(self, k: int) -> int:
        """How long the lists have to be that `apply` makes lists of k items from."""
        return CANDIDATES_FACTOR * k if self._has_filters() or self._has_rerankers() else k

    def apply(self, requests: ListRequests, lists: ScoredLists, k: int) -> ScoredLists:
        """Lists of k items each, from longer ones; what the rules take away, popular items fill up."""
        has_filters, has_rerankers = self._has_filters(), self._has_rerankers()
        if not (has_filters or has_rerankers):
            return lists
        if has_filters:
            lists = drop(lists, self.hidden_mask(requests, lists.item))
        if has_rerankers:
            lists = self._rerank(lists, k)
        if has_rerankers and self.settings.category_cap.most:
            return self._apply_category_cap(requests, lists, k)
        lists = take(lists, slice(None), k)
        if has_filters:
            short = np.flatnonzero(lists.item[:, -1] < 0)
            if len(short):
                short_requests = requests.subset(short)
                fallback = self._fallback.lists(short_requests, k + WAYS, self.sold_out())
                self._fill_up(short_requests, lists, short, fallback)
        return lists

    def sold_out(self) -> Rows:
        """Items that must not be in any list."""
        flags = self.sold_out_flags
        return np.empty(0, np.int32) if flags is None else np.flatnonzero(flags).astype(np.int32)

    @property
    def sold_out_flags(self) -> Flags | None:
        """The same by row, None where there are none."""
        is_on = self.settings.out_of_stock.enabled and self.item_features.sold_out_items
        return self.item_features.sold_out if is_on else None

    def _has_filters(self) -> bool:
        """Whether there is anything that must not be shown to somebody."""
        bought = self.settings.already_bought.enabled and len(self.already_bought.pairs) > 0
        return bought or self.sold_out_flags is not None

    def _has_rerankers(self) -> bool:
        """Whether order may change."""
        settings = self.settings
        is_on = settings.own_brand.brands or settings.diversity.weight or settings.category_cap.most
        return bool(is_on) and len(self.item_features.category) > 0

    def hidden_mask(self, requests: ListRequests, item: Rows) -> Flags:
        """Which places of lists [n, w] hold what must not be shown to their shoppers."""
        settings = self.settings
        hidden = np.zeros(item.shape, np.bool_)
        if settings.already_bought.enabled:
            wait_ms = settings.already_bought.wait_min * MINUTE_MS
            repurchase_min = settings.already_bought.again_min
            hidden |= self.already_bought.hidden_mask(
                requests, item, self.item_features, wait_ms, repurchase_min
            )
        if (sold_out := self.sold_out_flags) is not None:
            hidden |= out_of_stock.sold_out_mask(item, sold_out)
        return hidden

    def _apply_category_cap(
        self, requests: ListRequests, lists: ScoredLists, k: int
    ) -> ScoredLists:
        """Lists of k under the cap; where too little is named for that, of what is popular too."""
        cap = self.settings.category_cap
        first = leading_mask(lists.item, self.item_features, cap.most, cap.among)
        is_enough = first.sum(axis=1) >= min(cap.among, k)
        is_enough &= (lists.item >= 0).sum(axis=1) >= k
        short = np.flatnonzero(~is_enough)
        if len(short):
            short_requests = requests.subset(short)
            fallback = self._fallback.lists(
                short_requests, FALLBACK_FACTOR * k + WAYS, self.sold_out(), cap.most
            )
            # Room for all of it: the cap then takes what it may.
            lists = widen(lists, lists.item.shape[1] + fallback.item.shape[1])
            self._fill_up(short_requests, lists, short, fallback)
        return take(cap_categories(lists, self.item_features, cap.most, cap.among), slice(None), k)

    def _fill_up(
        self,
        requests: ListRequests,
        lists: ScoredLists,
        short: NDArray[np.intp],
        fallback: ScoredLists,
    ) -> None:
        """Fill the `short` lists, in place, with what may be shown of `fallback` to who `asked`."""
        fallback = drop(fallback, self.hidden_mask(requests, fallback.item))
        complete = fill(take(lists, short, lists.item.shape[1]), fallback, lists.item.shape[1])
        lists.item[short], lists.score[short] = complete.item, complete.score
        lists.reason_item[short] = complete.reason_item

    def _rerank(self, lists: ScoredLists, k: int) -> ScoredLists:
        settings, item_features = self.settings, self.item_features
        if own_brands := settings.own_brand.brands:
            lists = boost_own_brands(
                lists, item_features, own_brands, settings.own_brand.boost, self._own_brand
            )
        cap = settings.category_cap
        if settings.diversity.weight:
            wanted = lists.item.shape[1] if cap.most else k
            lists = diversify(lists, item_features, settings.diversity.weight, wanted)
        return lists
