"""Popular items of each scope: a category, a segment, a country, a price band.

Not a candidate generator: the blend does not get these lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.score_sums import best_items
from operators.tables.table import Table, TableState
from operators.tables.top_partners import TopPartners
from state.arrays import NO_ROW
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.catalogue.item_features import Flags
    from operators.tables.table import Arrays
    from state.arrays import Rows, Times, Weights
    from state.interactions import ScoredLists


class ScopedPopularity(TableState):
    """The heaviest items of each scope (a category, a segment), scopes being rows the caller gives.

    Bounded: `width` items a scope, more than a list shows, so that new ones can rise.
    """

    def __init__(self, *, width: int = 100, half_life_ms: int = DAY_MS) -> None:
        self.table = TopPartners(width, half_life_ms)

    def learn_many(self, scope: Rows, item: Rows, weight: Weights, at_ms: Times) -> None:
        """Learn n events, each in one scope; NO_ROW where an event has none."""
        has_scope = scope >= 0
        self.table.add(scope[has_scope], item[has_scope], weight[has_scope], at_ms[has_scope])

    def top(self, scopes: Rows, k: int, sold_out: Flags | None = None) -> ScoredLists:
        """A list for each scope, without sold-out items, with each item's share of the stored weight."""
        item, weight = self.table.lookup(scopes)
        if sold_out is not None:
            weight[sold_out[item]] = 0
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return best_items(item, weight, np.full_like(item, NO_ROW), k, repeats=1)

    def take_changed(self) -> Rows:
        """The scopes whose list changed since the last call."""
        return self.table.take_changed()

    def remove_items(self, rows: Rows) -> None:
        """Remove what was learned of these items."""
        self.table.remove_partners(rows)

    def tables(self) -> Sequence[Table]:
        """The items of each scope."""
        return self.table.tables()

    def scalars(self) -> Arrays:
        """The clock of the decay."""
        return self.table.scalars()

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self.table.restore(arrays)
