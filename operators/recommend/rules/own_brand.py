"""The shop's own brands are shown somewhat earlier."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import reordered
from state.interactions import NOBODY, Lists

if TYPE_CHECKING:
    from collections.abc import Collection

    from operators.catalogue.item_features import ItemFacts


def boosted(
    lists: Lists, facts: ItemFacts, brands: Collection[str], boost: float, reason: int
) -> Lists:
    """Lists by score, that of items of some brands multiplied by `boost`.

    An item that comes earlier by that has `reason` for its reason.
    """
    rows = [row for row in map(facts.brands.find, brands) if row != NOBODY]
    own = np.isin(facts.brand[lists.item], rows) & (lists.item >= 0)
    score = np.where(own, lists.score * np.float32(boost), lists.score)
    order = np.argsort(-score, axis=1, kind="stable")
    moved = reordered(Lists(lists.item, np.minimum(score, 1), lists.because), order)
    place = np.arange(order.shape[1])
    earlier = np.take_along_axis(own, order, axis=1) & (order > place)
    moved.because[earlier] = reason
    return moved
