"""A list does not say the same thing twenty times."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.scored_lists import reorder

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.catalogue.item_features import ItemFeatures
    from state.arrays import Rows, Weights
    from state.interactions import ScoredLists

SAME_CATEGORY, SAME_BRAND, SAME_PRICE = 0.5, 0.25, 0.25
"""How alike two items are by each: 1 in all. What is not known of an item is not alike."""
PRICE_SPAN = 0.5
"""Prices further apart than this, by their natural logarithm, are not alike."""
PRICE_MIN = np.float32(0.01)
NO_ITEM_VALUE = -1e6
"""The value of a place without an item: less than any item has."""
ROWS_AT_ONCE = 256
"""Lists worked on together: the columns in between then stay in the cache."""


def diversify(
    lists: ScoredLists, item_features: ItemFeatures, weight: float, k: int
) -> ScoredLists:
    """The k items that are each likely and unlike those before them, of longer lists.

    Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): each place goes to the item with
    most of (1 - weight) * score, as a share of the best score, less weight * how alike it is to the
    most alike of those before it.
    """
    order = np.empty((len(lists.item), min(k, lists.item.shape[1])), np.intp)
    for start in range(0, len(order), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        order[part] = _order(
            lists.item[part], lists.score[part], item_features, weight, order.shape[1]
        )
    return reorder(lists, order)


def _order(
    item: Rows, score: Weights, item_features: ItemFeatures, weight: float, k: int
) -> NDArray[np.intp]:
    category, brand = item_features.category[item], item_features.brand[item]
    price = np.log(np.maximum(item_features.price[item], PRICE_MIN))
    best = np.maximum(score[:, :1], np.finfo(np.float32).tiny)
    value = np.where(item >= 0, np.float32(1 - weight) * score / best, np.float32(NO_ITEM_VALUE))
    similarity: Weights = np.zeros(item.shape, np.float32)
    row = np.arange(len(item))
    order = np.empty((len(item), k), np.intp)
    for position in range(k):
        chosen = (value - np.float32(weight) * similarity).argmax(axis=1)
        order[:, position] = chosen
        value[row, chosen] = -np.inf
        of_category, of_brand = category[row, chosen, None], brand[row, chosen, None]
        chosen_similarity = SAME_CATEGORY * ((category == of_category) & (of_category >= 0))
        chosen_similarity += SAME_BRAND * ((brand == of_brand) & (of_brand >= 0))
        chosen_similarity += SAME_PRICE * (np.abs(price - price[row, chosen, None]) < PRICE_SPAN)
        np.maximum(similarity, chosen_similarity, out=similarity, casting="same_kind")
    return order
