"""Popular items of each scope: a category, a segment, a country, a price band. Not a candidate
generator."""

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

    Bounded: `width` items a scope. What is kept beyond the k shown is room for the next ones to rise.
    """

    def __init__(self, *, width: int = 100, half_life_ms: int = DAY_MS) -> None:
        self.table = TopPartners(width, half_life_ms)

    def learn_many(self, scope: Rows, item: Rows, weight: Weights, at_ms: Times) -> None:
        """Learn n events, each in one scope; NO_ROW where an event has none."""
        has_scope = scope >= 0
        self.table.add(scope[has_scope], item[has_scope], weight[has_scope], at_ms[has_scope])

    def top(self, scopes: Rows, k: int, sold_out: Flags | None = None) -> ScoredLists:
        """A list for each scope without what cannot be had, with each item's share of what is kept."""
        item, weight = self.table.lookup(scopes)
        if sold_out is not None:
            weight[sold_out[item]] = 0
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return best_items(item, weight, np.full_like(item, NO_ROW), k, repeats=1)

    def take_changed(self) -> Rows:
        """The scopes whose list changed since last asked."""
        return self.table.take_changed()

    def remove_items(self, rows: Rows) -> None:
        """These items were never seen."""
        self.table.remove_partners(rows)

    def tables(self) -> Sequence[Table]:
        """The items of each scope."""
        return self.table.tables()

    def scalars(self) -> Arrays:
        """The clock."""
        return self.table.scalars()

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.table.restore(arrays)
