"""The rule `already_bought`: a list leaves out what its shopper bought.

Items that many buyers buy again stay in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking.list_rules import mark_pairs, repurchase_shares
from operators.tables.array_ops import grow
from operators.tables.bounded_pairs import BoundedPairs
from operators.tables.table import Table, TableState, strip_prefix
from state.dirty_rows import DirtyRows
from state.interactions import PURCHASE
from state.times import HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags, ItemFeatures
    from operators.tables.table import Arrays
    from state.arrays import Rows, Weights
    from state.config_lists import AlreadyBought as AlreadyBoughtConfig
    from state.interactions import Interactions, ListRequests

ORDER_MS = HOUR_MS
"""Purchases of a shopper within this time are one order: the same item twice in it is no repurchase."""
WAYS = 16
"""Items that are kept of a shopper: the newest."""
PRIOR_BUYERS = 10.0
"""The category counts as much as so many buyers of an item, and the shop as so many of a category."""


class AlreadyBought(TableState):
    """An `ItemFilter` that hides items from their buyers, unless such items are often bought again.

    It learns who bought what, and how many buyers of each item bought it again, also while the rule is
    off: reasons need it.

    buyers float32[items], again float32[items]; of each pair the number of orders and the last time.
    """

    def __init__(self, settings: AlreadyBoughtConfig, item_features: ItemFeatures) -> None:
        self._settings = settings
        self._item_features = item_features
        self.pairs = BoundedPairs(settings.pairs_max, ways=WAYS)
        self._columns: dict[str, Weights] = {
            "buyers": np.empty(0, np.float32),
            "again": np.empty(0, np.float32),
        }
        self._items = 0
        self._dirty_rows = DirtyRows()

    @property
    def is_active(self) -> bool:
        """Whether the rule is on and anybody bought anything."""
        return self._settings.enabled and len(self.pairs) > 0

    def learn_many(self, batch: Interactions) -> None:
        """Learn the purchases of a batch, in order of time."""
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
        """Learn purchases of which no two are of the same shopper and item."""
        shopper, item, at_ms = batch.shopper[bought], batch.item[bought], batch.at_ms[bought]
        purchases, last_ms = self.pairs.get(shopper, item)
        is_first = purchases == 0
        is_other = is_first | (at_ms > last_ms + ORDER_MS)
        np.add.at(self._columns["buyers"], item[is_first], 1)
        np.add.at(self._columns["again"], item[is_other & (purchases == 1)], 1)
        self._dirty_rows.mark(item)
        self.pairs.add(shopper, item, is_other.astype(np.float32), at_ms)

    def hidden_mask(self, requests: ListRequests, item: Rows) -> Flags:
        """True where lists [n, w] hold what their shopper bought some time ago and will hardly buy
        again."""
        hidden = np.zeros(item.shape, np.bool_)
        bought = self.pairs.lookup(requests.shopper, requests.now_ms)
        if len(bought.item):
            wait_ms = self._settings.wait_min * MINUTE_MS
            is_hidden = requests.now_ms[bought.query] >= bought.at_ms + wait_ms
            is_hidden &= self.repurchase_share(bought.item) < self._settings.again_min
            mark_pairs(np.ascontiguousarray(item), bought.starts, bought.item, is_hidden, hidden)
        return hidden

    def because_bought(self, requests: ListRequests, reason_item: Rows) -> Flags | None:
        """True where the reason [n, k] of an item is one that the shopper bought; None for nowhere."""
        bought = self.pairs.lookup(requests.shopper, requests.now_ms)
        if not len(bought.item):
            return None
        is_bought = np.zeros(reason_item.shape, np.bool_)
        every = np.ones(len(bought.item), np.bool_)
        mark_pairs(np.ascontiguousarray(reason_item), bought.starts, bought.item, every, is_bought)
        return is_bought

    def repurchase_share(self, item: Rows) -> Weights:
        """The share of an item's buyers who bought it again.

        The fewer buyers an item has, the more the share is that of its category; the fewer the category
        has, the more it is that of the shop.
        """
        share = np.zeros(len(item), np.float32)
        if len(item) and self._items:
            buyers, repeat_buyers = (column[: self._items] for column in self._columns.values())
            features = self._item_features
            repurchase_shares(
                item,
                buyers,
                repeat_buyers,
                features.category[: self._items],
                len(features.categories),
                PRIOR_BUYERS,
                share,
            )
        return share

    def merge(self, row: int, into: int) -> None:
        """Count what a shopper bought for the user that it was merged into."""
        self.pairs.merge(row, into)

    def remove_shoppers(self, rows: Rows) -> None:
        """Remove the purchases of these shoppers."""
        self.pairs.remove_shoppers(rows)

    def remove_items(self, rows: Rows) -> None:
        """Remove the purchases of these items."""
        self.pairs.remove_items(rows)
        rows = rows[rows < self._items]
        for column in self._columns.values():
            column[rows] = 0
        self._dirty_rows.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The pairs of shopper and item; the buyers of each item."""
        columns = {name: column[: self._items] for name, column in self._columns.items()}
        return [
            Table(columns, self._dirty_rows),
            *(one.prefixed("pairs/") for one in self.pairs.tables()),
        ]

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
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
