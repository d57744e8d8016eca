"""Decayed popularity: what all shoppers of the shop view now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.kernels.item_scans import heaviest
from operators.tables.array_ops import grow
from operators.tables.decay_clock import DecayClock, decay
from operators.tables.replication import ChangedRows, Replicated
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows
from state.interactions import ScoredLists, empty_lists
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Weights
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
        self.changed_rows = ChangedRows()
        self._dirty_rows = DirtyRows()

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in order of arrival."""
        if not len(batch):
            return
        if doublings := self.clock.advance(batch.at_ms):
            decay(self.count, doublings)
            self._dirty_rows.mark_all()
            self.changed_rows.mark_all()
        self.ensure_rows(int(batch.item.max()) + 1)
        self._dirty_rows.mark(batch.item)
        self.changed_rows.mark(batch.item)
        gain = np.bincount(batch.item, batch.weight * self.clock.encode_scale(batch.at_ms))
        self.count[: len(gain)] += gain.astype(np.float32)

    def top(self, k: int, excluded: Rows | None = None) -> ScoredLists:
        """One list: the k most popular items but the excluded ones, with their share of all weight."""
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
        """Nothing is stored of single shoppers."""

    def remove_items(self, rows: Rows) -> None:
        """Remove what was learned of these items."""
        rows = rows[rows < self.items]
        self.count[rows] = 0
        self._dirty_rows.mark(rows)
        self.changed_rows.mark(rows)

    def replicated_tables(self) -> Sequence[Replicated]:
        """The weight of each item."""
        return (self,)

    def replicated_columns(self) -> tuple[Weights]:
        """The weight of each item."""
        return (self.count[: self.items],)

    def replicated_scalars(self) -> tuple[NDArray[np.int64]]:
        """The clock of the decay."""
        return (self.clock.to_array(),)

    def write_scalars(self, scalars: tuple[NDArray[Any], ...]) -> None:
        """Replace the clock of the decay."""
        self.clock.restore(scalars[0])

    def ensure_rows(self, rows: int) -> None:
        """Extend the table to at least so many items, without weight."""
        self.count = grow(self.count, rows, 0)
        self.items = max(self.items, rows)
        self._dirty_rows.ensure_rows(rows)

    def tables(self) -> Sequence[Table]:
        """The weight of each item."""
        return [Table({"count": self.count[: self.items]}, self._dirty_rows)]

    def scalars(self) -> Arrays:
        """The clock of the decay."""
        return {"origin_ms": self.clock.to_array()}

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self.count = arrays["count"].astype(np.float32)
        self.items = len(self.count)
        self.clock.restore(arrays["origin_ms"])
        self._dirty_rows = DirtyRows(self.items)


def top_list(score: Weights, k: int) -> ScoredLists:
    """One list: the k items with the highest scores above 0."""
    lists = empty_lists(1, k)
    heaviest(np.ascontiguousarray(score, np.float32), lists.item[0], lists.score[0])
    return lists
