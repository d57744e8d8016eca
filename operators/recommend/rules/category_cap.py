"""The rule `category_cap`: the beginning of a list holds only so many items of one category.

The cap always holds. If the candidates have too few other categories, popular items of those come in; if
there are none, the list is shorter. Items without a category are not limited.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.scored_lists import drop, reorder
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from operators.catalogue.item_features import Flags, ItemFeatures
    from state.arrays import Rows
    from state.config_lists import CategoryCap as CategoryCapConfig
    from state.interactions import ScoredLists


class CategoryCap:
    """At most `most` items of one category among the first `among` items of a list."""

    def __init__(self, settings: CategoryCapConfig, item_features: ItemFeatures) -> None:
        self.settings = settings
        self._item_features = item_features

    @property
    def is_active(self) -> bool:
        """Whether the configuration sets a cap."""
        return self.settings.most > 0

    def cap(self, lists: ScoredLists) -> ScoredLists:
        """The items that the cap allows; the others follow if the first part is full, else they go."""
        first = self.leading_mask(lists.item)
        count = first.sum(axis=1, keepdims=True)
        ordered = reorder(lists, np.argsort(~first, axis=1, kind="stable"))
        behind = np.arange(first.shape[1]) >= count
        return drop(ordered, (count < self.settings.among) & behind)

    def too_short(self, lists: ScoredLists, k: int) -> Flags:
        """bool[n]: lists that hold too few items, or too few categories, for k items under the cap."""
        is_enough = self.leading_mask(lists.item).sum(axis=1) >= min(self.settings.among, k)
        is_enough &= (lists.item >= 0).sum(axis=1) >= k
        return np.asarray(~is_enough)

    def leading_mask(self, item: Rows) -> Flags:
        """The positions in lists [n, w] that come first: `among` of them, `most` of a category."""
        first = (rank_in_category(item, self._item_features) < self.settings.most) & (item >= 0)
        first &= first.cumsum(axis=1) <= self.settings.among
        return first


def rank_in_category(item: Rows, item_features: ItemFeatures) -> Rows:
    """The number of earlier items of the same category in lists [n, w]; 0 for items without one."""
    category = np.where(item >= 0, item_features.category[item], NO_ROW)
    return np.where(category >= 0, _count_earlier_equal(category), 0)


def _count_earlier_equal(values: Rows) -> Rows:
    """The number of earlier positions with the same value, in each row.

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
