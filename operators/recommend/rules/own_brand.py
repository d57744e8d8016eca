"""The rule `own_brand`: the shop's own brands come earlier in a list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.scored_lists import reorder
from state.arrays import NO_ROW
from state.interactions import ScoredLists

if TYPE_CHECKING:
    from operators.catalogue.item_features import ItemFeatures
    from state.config_lists import OwnBrand as OwnBrandConfig


class OwnBrand:
    """A `Reranker` that multiplies the scores of items of some brands and sorts the list again.

    `reason` is the reason code of an item that comes earlier because of that.
    """

    def __init__(self, settings: OwnBrandConfig, item_features: ItemFeatures, reason: int) -> None:
        self._settings = settings
        self._item_features = item_features
        self._reason = reason

    @property
    def is_active(self) -> bool:
        """Whether the configuration names any brand."""
        return bool(self._settings.brands)

    def rerank(self, lists: ScoredLists, k: int) -> ScoredLists:
        """The lists by boosted score, which is 1 at most."""
        brands = map(self._item_features.brands.get, self._settings.brands)
        rows = [row for row in brands if row != NO_ROW]
        is_own = np.isin(self._item_features.brand[lists.item], rows) & (lists.item >= 0)
        score = np.where(is_own, lists.score * np.float32(self._settings.boost), lists.score)
        order = np.argsort(-score, axis=1, kind="stable")
        boosted = reorder(ScoredLists(lists.item, np.minimum(score, 1), lists.reason_item), order)
        earlier = np.take_along_axis(is_own, order, axis=1) & (order > np.arange(order.shape[1]))
        boosted.reason_item[earlier] = self._reason
        return boosted
