"""The beginning of a list does not hold too much of one category.

The cap always holds. Where too little of other categories is named, what is popular there is put in;
where there is none of that either, the list is shorter. An item without a category is in nobody's way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.scored_lists import drop, reorder
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from operators.catalogue.item_features import Flags, ItemFeatures
    from state.arrays import Rows
    from state.interactions import ScoredLists


def cap_categories(
    lists: ScoredLists, item_features: ItemFeatures, limit: int, within: int
) -> ScoredLists:
    """At most so many items of one category among the first `within`; the others come after those, or
    not at all where those are fewer."""
    first = leading_mask(lists.item, item_features, limit, within)
    count = first.sum(axis=1, keepdims=True)
    ordered = reorder(lists, np.argsort(~first, axis=1, kind="stable"))
    behind = np.arange(first.shape[1]) >= count
    return drop(ordered, (count < within) & behind)


def leading_mask(item: Rows, item_features: ItemFeatures, limit: int, within: int) -> Flags:
    """Which places of lists [n, w] come first: `within` of them with at most `limit` of a category."""
    first = (rank_in_category(item, item_features) < limit) & (item >= 0)
    first &= first.cumsum(axis=1) <= within
    return first


def rank_in_category(item: Rows, item_features: ItemFeatures) -> Rows:
    """How many items of the same category come before each place of lists [n, w]; 0 without one."""
    category = np.where(item >= 0, item_features.category[item], NO_ROW)
    return np.where(category >= 0, _count_earlier_equal(category), 0)


def _count_earlier_equal(values: Rows) -> Rows:
    """How many places before hold the same value, in each row.

    >>> _count_earlier_equal(np.array([[3, 4, 3, 3]], np.int32)).tolist()
    [[0, 0, 1, 2]]
    """
    order = values.argsort(axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    position = np.arange(values.shape[1])
    begins = np.ones(values.shape, np.bool_)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    rank = position - np.maximum.accumulate(np.where(begins, position, 0), axis=1)
    earlier = np.empty(values.shape, np.int32)
    np.put_along_axis(earlier, order, rank.astype(np.int32), axis=1)
    return earlier
