"""Decayed popularity: what everybody looks at now, in the whole shop and in parts of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import descending_key, grow
from operators.tables.decay_clock import DecayClock, decay
from operators.tables.score_sums import best_items
from operators.tables.table import Table, TableState
from operators.tables.top_partners import TopPartners
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.interactions import ScoredLists, empty_lists
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.catalogue.item_features import Flags
    from operators.tables.table import Arrays
    from state.arrays import Rows, Times, Weights
    from state.interactions import Interactions, ListRequests


class Popularity(TableState):
    """Weights of items with exponential decay, over all of the shop.

    count float32[items]; an event costs one addition whatever the half-life (`DecayClock`).
    """

    name = "popularity"
    is_reranker = False

    def __init__(self, *, half_life_ms: int = DAY_MS) -> None:
        self.clock = DecayClock(half_life_ms)
        self.items = 0
        self.count: Weights = np.empty(0, np.float32)
        self._dirty_rows = DirtyRows()

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order."""
        if not len(batch):
            return
        if doublings := self.clock.advance(batch.at_ms):
            decay(self.count, doublings)
            self._dirty_rows.mark_all()
        rows = int(batch.item.max()) + 1
        self.count = grow(self.count, rows, 0)
        self.items = max(self.items, rows)
        self._dirty_rows.ensure_rows(rows)
        self._dirty_rows.mark(batch.item)
        gain = np.bincount(batch.item, batch.weight * self.clock.encode_scale(batch.at_ms))
        self.count[: len(gain)] += gain.astype(np.float32)

    def top(self, k: int, excluded: Rows | None = None) -> ScoredLists:
        """One list: the k most popular items but for some, with their share of everything."""
        count = self.count[: self.items]
        if excluded is not None and len(excluded):
            count = count.copy()
            count[excluded[excluded < self.items]] = 0
        return top_list(count / np.maximum(count.sum(), np.finfo(np.float32).tiny), k)

    def candidates(self, requests: ListRequests, k: int) -> ScoredLists:
        """The same k most popular items for every request."""
        top = self.top(k)
        n = len(requests)
        return ScoredLists(
            np.repeat(top.item, n, axis=0),
            np.repeat(top.score, n, axis=0),
            np.repeat(top.reason_item, n, axis=0),
        )

    def remove_shoppers(self, rows: Rows) -> None:
        """Nothing here is about a shopper."""

    def remove_items(self, rows: Rows) -> None:
        """These items were never seen."""
        rows = rows[rows < self.items]
        self.count[rows] = 0
        self._dirty_rows.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The weight of each item."""
        return [Table({"count": self.count[: self.items]}, self._dirty_rows)]

    def scalars(self) -> Arrays:
        """The clock."""
        return {"origin_ms": self.clock.to_array()}

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.count = arrays["count"].astype(np.float32)
        self.items = len(self.count)
        self.clock.restore(arrays["origin_ms"])
        self._dirty_rows = DirtyRows(self.items)


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


def top_list(score: Weights, k: int) -> ScoredLists:
    """One list: the k items with the highest scores above 0."""
    lists = empty_lists(1, k)
    count = min(k, int(np.count_nonzero(score)))
    if count:
        threshold = np.partition(score, len(score) - count)[len(score) - count]
        above = np.flatnonzero(score >= threshold)
        item = above[descending_key(score[above]).argsort(kind="stable")][:count]
        lists.item[0, :count], lists.score[0, :count] = item, score[item]
    return lists
