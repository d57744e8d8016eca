"""Decayed popularity: what everybody looks at now, in the whole shop and in parts of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import best_items, descending
from operators.tables.table import Kept, Table
from operators.tables.top_partners import DecayClock, HeaviestPartners, fade, grown
from state.dirty_rows import Marks
from state.interactions import NOBODY, Lists, empty_lists
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.catalogue.item_features import Flags
    from operators.tables.table import Arrays
    from state.interactions import Interactions, Requests, Rows, Times, Weights


class Popularity(Kept):
    """Weights of items with exponential decay, over all of the shop.

    count float32[items]; an event costs one addition whatever the half-life (`DecayClock`).
    """

    name = "popularity"
    asked_last = False

    def __init__(self, *, half_life_ms: int = DAY_MS) -> None:
        self.clock = DecayClock(half_life_ms)
        self.items = 0
        self.count: Weights = np.empty(0, np.float32)
        self._marks = Marks()

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order."""
        if not len(batch):
            return
        if doublings := self.clock.advance(batch.at_ms):
            fade(self.count, doublings)
            self._marks.mark_all()
        rows = int(batch.item.max()) + 1
        self.count = grown(self.count, rows, 0)
        self.items = max(self.items, rows)
        self._marks.reach(rows)
        self._marks.mark(batch.item)
        gain = np.bincount(batch.item, batch.weight * self.clock.growth(batch.at_ms))
        self.count[: len(gain)] += gain.astype(np.float32)

    def top(self, k: int, without: Rows | None = None) -> Lists:
        """One list: the k most popular items but for some, with their share of everything."""
        count = self.count[: self.items]
        if without is not None and len(without):
            count = count.copy()
            count[without[without < self.items]] = 0
        return highest(count / np.maximum(count.sum(), np.finfo(np.float32).tiny), k)

    def candidates(self, requests: Requests, k: int) -> Lists:
        """The same k most popular items for every request."""
        top = self.top(k)
        n = len(requests)
        return Lists(
            np.repeat(top.item, n, axis=0),
            np.repeat(top.score, n, axis=0),
            np.repeat(top.because, n, axis=0),
        )

    def forget_shoppers(self, rows: Rows) -> None:
        """Nothing here is about a shopper."""

    def forget_items(self, rows: Rows) -> None:
        """These items were never seen."""
        rows = rows[rows < self.items]
        self.count[rows] = 0
        self._marks.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The weight of each item."""
        return [Table({"count": self.count[: self.items]}, self._marks)]

    def small(self) -> Arrays:
        """The clock."""
        return {"origin_ms": self.clock.arrays()}

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.count = arrays["count"].astype(np.float32)
        self.items = len(self.count)
        self.clock.restore(arrays["origin_ms"])
        self._marks = Marks(self.items)


class ScopedPopularity(Kept):
    """The heaviest items of each scope (a category, a segment), scopes being rows the caller gives.

    Bounded: `width` items a scope. What is kept beyond the k shown is room for the next ones to rise.
    """

    def __init__(self, *, width: int = 100, half_life_ms: int = DAY_MS) -> None:
        self.table = HeaviestPartners(width, half_life_ms)

    def learn_many(self, scope: Rows, item: Rows, weight: Weights, at_ms: Times) -> None:
        """Learn n events, each in one scope; NOBODY where an event has none."""
        some = scope >= 0
        self.table.add(scope[some], item[some], weight[some], at_ms[some])

    def top(self, scopes: Rows, k: int, sold_out: Flags | None = None) -> Lists:
        """A list for each scope without what cannot be had, with each item's share of what is kept."""
        item, weight = self.table.take(scopes)
        if sold_out is not None:
            weight[sold_out[item]] = 0
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
        return best_items(item, weight, np.full_like(item, NOBODY), k, repeats=1)

    def take_changed(self) -> Rows:
        """The scopes whose list changed since last asked."""
        return self.table.take_changed()

    def forget_items(self, rows: Rows) -> None:
        """These items were never seen."""
        self.table.forget_partners(rows)

    def tables(self) -> Sequence[Table]:
        """The items of each scope."""
        return self.table.tables()

    def small(self) -> Arrays:
        """The clock."""
        return self.table.small()

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.table.restore(arrays)


def highest(score: Weights, k: int) -> Lists:
    """One list: the k items with the highest scores above 0."""
    lists = empty_lists(1, k)
    k_there = min(k, int(np.count_nonzero(score)))
    if k_there:
        threshold = np.partition(score, len(score) - k_there)[len(score) - k_there]
        above = np.flatnonzero(score >= threshold)
        item = above[descending(score[above]).argsort(kind="stable")][:k_there]
        lists.item[0, :k_there], lists.score[0, :k_there] = item, score[item]
    return lists
