"""The rule `diversity`: a list does not show twenty items that are alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.scored_lists import reorder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.catalogue.item_features import ItemFeatures
    from state.arrays import Rows, Weights
    from state.config_lists import Diversity as DiversityConfig
    from state.interactions import ScoredLists

SAME_CATEGORY, SAME_BRAND, SAME_PRICE = 0.5, 0.25, 0.25
"""How similar two items are by each of these: 1 in all. Unknown values are not similar."""
PRICE_SPAN = 0.5
"""Prices that differ by more than this, in natural logarithms, are not similar."""
PRICE_MIN = np.float32(0.01)
NO_ITEM_VALUE = -1e6
"""The value of a position without an item: below that of any item."""
ROWS_AT_ONCE = 256
"""Lists in one step: the columns in between then stay in the cache."""


class Diversity:
    """A `Reranker`: maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998).

    Each position goes to the item with the highest (1 - weight) * score, as a share of the list's best
    score, minus weight * its similarity to the most similar item before it.
    """

    def __init__(self, settings: DiversityConfig, item_features: ItemFeatures) -> None:
        self._settings = settings
        self._item_features = item_features

    @property
    def is_active(self) -> bool:
        """Whether the configuration gives diversity any weight."""
        return self._settings.weight > 0

    def rerank(self, lists: ScoredLists, k: int) -> ScoredLists:
        """The k best items of each list, in the new order."""
        order = np.empty((len(lists.item), min(k, lists.item.shape[1])), np.intp)
        for start in range(0, len(order), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            order[part] = self._order(lists.item[part], lists.score[part], order.shape[1])
        return reorder(lists, order)

    def _order(self, item: Rows, score: Weights, k: int) -> NDArray[np.intp]:
        features, weight = self._item_features, self._settings.weight
        category, brand = features.category[item], features.brand[item]
        price = np.log(np.maximum(features.price[item], PRICE_MIN))
        best = np.maximum(score[:, :1], np.finfo(np.float32).tiny)
        value = np.where(
            item >= 0, np.float32(1 - weight) * score / best, np.float32(NO_ITEM_VALUE)
        )
        similarity: Weights = np.zeros(item.shape, np.float32)
        row = np.arange(len(item))
        order = np.empty((len(item), k), np.intp)
        for position in range(k):
            chosen = (value - np.float32(weight) * similarity).argmax(axis=1)
            order[:, position] = chosen
            value[row, chosen] = -np.inf
            chosen_category, chosen_brand = category[row, chosen, None], brand[row, chosen, None]
            same = SAME_CATEGORY * ((category == chosen_category) & (chosen_category >= 0))
            same += SAME_BRAND * ((brand == chosen_brand) & (chosen_brand >= 0))
            same += SAME_PRICE * (np.abs(price - price[row, chosen, None]) < PRICE_SPAN)
            np.maximum(similarity, same, out=similarity, casting="same_kind")
        return order
