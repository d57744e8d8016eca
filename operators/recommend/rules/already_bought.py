"""What a shopper has bought is not shown to them again, unless such things are bought repeatedly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.bounded_pairs import Pairs
from operators.tables.table import Kept, Table, without_prefix
from operators.tables.top_partners import grown
from state.dirty_rows import Marks
from state.interactions import PURCHASE
from state.times import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags, ItemFacts
    from operators.tables.table import Arrays
    from state.interactions import Interactions, Requests, Rows, Weights

ORDER_MS = HOUR_MS
"""Purchases of a shopper within this time are one order: an item in it twice is not bought again."""
WAYS = 16
"""Items that are remembered of a shopper: the newest."""
PRIOR_BUYERS = 10.0
"""So many buyers speak for the category beside an item's own, and for the shop beside a category's."""


class Bought(Kept):
    """Who bought what, and of the buyers of each item how many came back for it.

    buyers float32[items], again float32[items]; of each pair how often it was bought, and when last.
    """

    def __init__(self, most: int) -> None:
        self.pairs = Pairs(most, ways=WAYS)
        self._columns: dict[str, Weights] = {
            "buyers": np.empty(0, np.float32),
            "again": np.empty(0, np.float32),
        }
        self._items = 0
        self._marks = Marks()

    def learn_many(self, batch: Interactions) -> None:
        """Learn the purchases of a batch, in the order of their times."""
        bought = np.flatnonzero(batch.kind == PURCHASE)
        if not len(bought):
            return
        bought = bought[batch.at_ms[bought].argsort(kind="stable")]
        self._reach(int(batch.item[bought].max()) + 1)
        while len(bought):
            pair = batch.shopper[bought].astype(np.int64) << 32 | batch.item[bought]
            _, first = np.unique(pair, return_index=True)
            self._learn_first(batch, np.sort(bought[first]))
            bought = np.delete(bought, first)

    def _learn_first(self, batch: Interactions, bought: NDArray[np.intp]) -> None:
        """Learn purchases of as many pairs."""
        shopper, item, at_ms = batch.shopper[bought], batch.item[bought], batch.at_ms[bought]
        times, last_ms = self.pairs.find(shopper, item)
        is_first = times == 0
        is_other = is_first | (at_ms > last_ms + ORDER_MS)
        np.add.at(self._columns["buyers"], item[is_first], 1)
        np.add.at(self._columns["again"], item[is_other & (times == 1)], 1)
        self._marks.mark(item)
        self.pairs.add(shopper, item, is_other.astype(np.float32), at_ms)

    def hidden(
        self, requests: Requests, item: Rows, facts: ItemFacts, wait_ms: int, again_min: float
    ) -> Flags:
        """Which places of lists [n, w] hold what its shopper bought longer ago than `wait_ms` and will
        hardly want again."""
        gone = np.zeros(item.shape, np.bool_)
        had = self.pairs.of(requests.shopper, requests.now_ms)
        once = requests.now_ms[had.place] >= had.at_ms + wait_ms
        once &= self.again_share(had.item, facts) < again_min
        for place, bought in zip(had.place[once].tolist(), had.item[once].tolist(), strict=True):
            gone[place] |= item[place] == bought
        return gone

    def because_bought(self, requests: Requests, because: Rows) -> Flags | None:
        """Which reasons [n, k] of lists are items that their shopper bought; None for none."""
        had = self.pairs.of(requests.shopper, requests.now_ms)
        if not len(had.item):
            return None
        said = np.zeros(because.shape, np.bool_)
        for place, bought in zip(had.place.tolist(), had.item.tolist(), strict=True):
            said[place] |= because[place] == bought
        return said

    def again_share(self, item: Rows, facts: ItemFacts) -> Weights:
        """Of the buyers of items the share that bought them again; where few bought an item, more as
        its category, where few bought of that, as the shop."""
        buyers, again = (column[: self._items] for column in self._columns.values())
        if not len(item) or not self._items:
            return np.zeros(len(item), np.float32)
        # One place more, the last, for items without a category.
        category = facts.category[: self._items]
        kinds = len(facts.categories) + 1
        of_kind = [
            np.bincount(np.where(category < 0, kinds - 1, category), column, kinds)
            for column in (buyers, again)
        ]
        shop = again.sum() / max(float(buyers.sum()), 1.0)
        kind_share = (of_kind[1] + PRIOR_BUYERS * shop) / (of_kind[0] + PRIOR_BUYERS)
        kind_share[-1] = shop
        prior = PRIOR_BUYERS * kind_share[category[item]]
        return np.asarray((again[item] + prior) / (buyers[item] + PRIOR_BUYERS), np.float32)

    def forget_shoppers(self, rows: Rows) -> None:
        """These shoppers never bought."""
        self.pairs.forget_shoppers(rows)

    def forget_items(self, rows: Rows) -> None:
        """These items were never bought."""
        self.pairs.forget_items(rows)
        rows = rows[rows < self._items]
        for column in self._columns.values():
            column[rows] = 0
        self._marks.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The pairs, and the buyers of each item."""
        columns = {name: column[: self._items] for name, column in self._columns.items()}
        return [Table(columns, self._marks), *(one.named("pairs/") for one in self.pairs.tables())]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self._columns = {name: arrays[name].astype(np.float32) for name in self._columns}
        self._items = len(self._columns["buyers"])
        self._marks = Marks(self._items)
        self.pairs.restore(without_prefix("pairs/", arrays))

    def _reach(self, rows: int) -> None:
        if rows > self._items:
            for name, column in self._columns.items():
                self._columns[name] = grown(column, rows, 0)
            self._marks.reach(rows)
            self._items = rows
