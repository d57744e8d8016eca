"""The shop's own brands are shown somewhat earlier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.scored_lists import reorder
from state.arrays import NO_ROW
from state.interactions import ScoredLists

if TYPE_CHECKING:
    from collections.abc import Collection

    from operators.catalogue.item_features import ItemFeatures


def boost_own_brands(
    lists: ScoredLists,
    item_features: ItemFeatures,
    brands: Collection[str],
    boost: float,
    reason: int,
) -> ScoredLists:
    """Lists by score, that of items of some brands multiplied by `boost`.

    An item that comes earlier by that has `reason` for its reason.
    """
    rows = [row for row in map(item_features.brands.get, brands) if row != NO_ROW]
    is_own = np.isin(item_features.brand[lists.item], rows) & (lists.item >= 0)
    score = np.where(is_own, lists.score * np.float32(boost), lists.score)
    order = np.argsort(-score, axis=1, kind="stable")
    boosted = reorder(ScoredLists(lists.item, np.minimum(score, 1), lists.reason_item), order)
    position = np.arange(order.shape[1])
    earlier = np.take_along_axis(is_own, order, axis=1) & (order > position)
    boosted.reason_item[earlier] = reason
    return boosted
