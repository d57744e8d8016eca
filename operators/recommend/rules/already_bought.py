"""What a shopper has bought is not shown to them again, unless such things are bought repeatedly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.bounded_pairs import BoundedPairs
from operators.tables.table import Table, TableState, strip_prefix
from state.dirty_rows import DirtyRows
from state.interactions import PURCHASE
from state.times import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags, ItemFeatures
    from operators.tables.table import Arrays
    from state.arrays import Rows, Weights
    from state.interactions import Interactions, ListRequests

ORDER_MS = HOUR_MS
"""Purchases of a shopper within this time are one order: an item in it twice is not bought again."""
WAYS = 16
"""Items that are remembered of a shopper: the newest."""
PRIOR_BUYERS = 10.0
"""So many buyers speak for the category beside an item's own, and for the shop beside a category's."""


class AlreadyBought(TableState):
    """Who bought what, and of the buyers of each item how many came back for it.

    buyers float32[items], again float32[items]; of each pair how often it was bought, and when last.
    """

    def __init__(self, pairs_max: int) -> None:
        self.pairs = BoundedPairs(pairs_max, ways=WAYS)
        self._columns: dict[str, Weights] = {
            "buyers": np.empty(0, np.float32),
            "again": np.empty(0, np.float32),
        }
        self._items = 0
        self._dirty_rows = DirtyRows()

    def learn_many(self, batch: Interactions) -> None:
        """Learn the purchases of a batch, in the order of their times."""
        bought = np.flatnonzero(batch.kind == PURCHASE)
        if not len(bought):
            return
        bought = bought[batch.at_ms[bought].argsort(kind="stable")]
        self._ensure_rows(int(batch.item[bought].max()) + 1)
        while len(bought):
            pair = batch.shopper[bought].astype(np.int64) << 32 | batch.item[bought]
            _, first = np.unique(pair, return_index=True)
            self._learn_distinct_pairs(batch, np.sort(bought[first]))
            bought = np.delete(bought, first)

    def _learn_distinct_pairs(self, batch: Interactions, bought: NDArray[np.intp]) -> None:
        """Learn purchases of as many pairs."""
        shopper, item, at_ms = batch.shopper[bought], batch.item[bought], batch.at_ms[bought]
        purchases, last_ms = self.pairs.get(shopper, item)
        is_first = purchases == 0
        is_other = is_first | (at_ms > last_ms + ORDER_MS)
        np.add.at(self._columns["buyers"], item[is_first], 1)
        np.add.at(self._columns["again"], item[is_other & (purchases == 1)], 1)
        self._dirty_rows.mark(item)
        self.pairs.add(shopper, item, is_other.astype(np.float32), at_ms)

    def hidden_mask(
        self,
        requests: ListRequests,
        item: Rows,
        item_features: ItemFeatures,
        wait_ms: int,
        repurchase_min: float,
    ) -> Flags:
        """Which places of lists [n, w] hold what its shopper bought longer ago than `wait_ms` and will
        hardly want again."""
        hidden = np.zeros(item.shape, np.bool_)
        bought_pairs = self.pairs.lookup(requests.shopper, requests.now_ms)
        is_hidden = requests.now_ms[bought_pairs.query] >= bought_pairs.at_ms + wait_ms
        is_hidden &= self.repurchase_share(bought_pairs.item, item_features) < repurchase_min
        for row, bought in zip(
            bought_pairs.query[is_hidden].tolist(),
            bought_pairs.item[is_hidden].tolist(),
            strict=True,
        ):
            hidden[row] |= item[row] == bought
        return hidden

    def because_bought(self, requests: ListRequests, because: Rows) -> Flags | None:
        """Which reasons [n, k] of lists are items that their shopper bought; None for none."""
        bought_pairs = self.pairs.lookup(requests.shopper, requests.now_ms)
        if not len(bought_pairs.item):
            return None
        is_bought = np.zeros(because.shape, np.bool_)
        for row, bought in zip(
            bought_pairs.query.tolist(), bought_pairs.item.tolist(), strict=True
        ):
            is_bought[row] |= because[row] == bought
        return is_bought

    def repurchase_share(self, item: Rows, item_features: ItemFeatures) -> Weights:
        """Of the buyers of items the share that bought them again; where few bought an item, more as
        its category, where few bought of that, as the shop."""
        buyers, repeat_buyers = (column[: self._items] for column in self._columns.values())
        if not len(item) or not self._items:
            return np.zeros(len(item), np.float32)
        # One place more, the last, for items without a category.
        category = item_features.category[: self._items]
        categories = len(item_features.categories) + 1
        by_category = [
            np.bincount(np.where(category < 0, categories - 1, category), column, categories)
            for column in (buyers, repeat_buyers)
        ]
        shop = repeat_buyers.sum() / max(float(buyers.sum()), 1.0)
        category_share = (by_category[1] + PRIOR_BUYERS * shop) / (by_category[0] + PRIOR_BUYERS)
        category_share[-1] = shop
        prior = PRIOR_BUYERS * category_share[category[item]]
        return np.asarray((repeat_buyers[item] + prior) / (buyers[item] + PRIOR_BUYERS), np.float32)

    def remove_shoppers(self, rows: Rows) -> None:
        """These shoppers never bought."""
        self.pairs.remove_shoppers(rows)

    def remove_items(self, rows: Rows) -> None:
        """These items were never bought."""
        self.pairs.remove_items(rows)
        rows = rows[rows < self._items]
        for column in self._columns.values():
            column[rows] = 0
        self._dirty_rows.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The pairs, and the buyers of each item."""
        columns = {name: column[: self._items] for name, column in self._columns.items()}
        return [
            Table(columns, self._dirty_rows),
            *(one.prefixed("pairs/") for one in self.pairs.tables()),
        ]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self._columns = {name: arrays[name].astype(np.float32) for name in self._columns}
        self._items = len(self._columns["buyers"])
        self._dirty_rows = DirtyRows(self._items)
        self.pairs.restore(strip_prefix("pairs/", arrays))

    def _ensure_rows(self, rows: int) -> None:
        if rows > self._items:
            for name, column in self._columns.items():
                self._columns[name] = grow(column, rows, 0)
            self._dirty_rows.ensure_rows(rows)
            self._items = rows
