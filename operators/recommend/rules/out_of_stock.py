"""The rule `out_of_stock`: items that are sold out are in no list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from operators.catalogue.item_features import Flags, ItemFeatures
    from state.arrays import Rows
    from state.config_lists import OutOfStock as OutOfStockConfig
    from state.interactions import ListRequests


class OutOfStock:
    """An `ItemFilter` that hides sold-out items from everybody."""

    def __init__(self, settings: OutOfStockConfig, item_features: ItemFeatures) -> None:
        self._settings = settings
        self._item_features = item_features

    @property
    def is_active(self) -> bool:
        """Whether the rule is on and any item is sold out."""
        return self.flags is not None

    @property
    def flags(self) -> Flags | None:
        """Whether each item row is sold out; None if no item is hidden."""
        is_on = self._settings.enabled and self._item_features.sold_out_items
        return self._item_features.sold_out if is_on else None

    def rows(self) -> Rows:
        """The rows of the hidden items."""
        flags = self.flags
        return np.empty(0, np.int32) if flags is None else np.flatnonzero(flags).astype(np.int32)

    def hidden_mask(self, requests: ListRequests, item: Rows) -> Flags:
        """True where lists int32[n, w] hold a sold-out item."""
        flags = self.flags
        return np.zeros(item.shape, np.bool_) if flags is None else flags[item] & (item >= 0)
