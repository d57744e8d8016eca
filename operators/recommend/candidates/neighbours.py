"""The partners of items in a table of counts, as lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.score_sums import best_items

if TYPE_CHECKING:
    from operators.catalogue.item_features import Flags
    from operators.tables.top_partners import TopPartners
    from state.arrays import Rows
    from state.interactions import ScoredLists


def top_neighbours(table: TopPartners, items: Rows, k: int, sold_out: Flags | None) -> ScoredLists:
    """The k heaviest partners of each item, but itself and sold-out ones; scores are shares."""
    partner, weight = table.lookup(items)
    weight[partner == items[:, None]] = 0
    if sold_out is not None:
        weight[sold_out[partner]] = 0
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    reason_item = np.broadcast_to(items[:, None], partner.shape)
    return best_items(partner, weight, reason_item, k, repeats=1)
