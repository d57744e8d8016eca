"""Items that are bought together, counted with decay.

Not a candidate generator: it serves the `bought` lists of items.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.candidates.neighbours import top_neighbours
from operators.recommend.session_contexts import SessionContexts
from operators.tables.array_ops import first_occurrence, grow
from operators.tables.table import Table, TableState
from operators.tables.top_partners import TopPartners
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.interactions import PURCHASE, ScoredLists
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.catalogue.item_features import Flags
    from operators.tables.table import Arrays
    from state.arrays import Rows
    from state.interactions import Interactions


class BoughtTogether(TableState):
    """Which items the same shopper bought within `window_ms`, whichever came first.

    Rows of one order reach it as purchases in a row. It remembers a basket for buyers only.
    """

    def __init__(
        self,
        *,
        width: int = 32,
        half_life_ms: int = 90 * DAY_MS,
        window_ms: int = HOUR_MS,
        basket: int = 16,
    ) -> None:
        self.table = TopPartners(width, half_life_ms)
        self.window_ms = window_ms
        self.baskets = SessionContexts(basket)
        self.buyers = 0
        self.buyer: Rows = np.empty(0, np.int32)
        self._free: Rows = np.empty(0, np.int32)
        self._dirty_rows = DirtyRows()

    def learn_many(self, batch: Interactions) -> None:
        """Learn the purchases of a batch, in its order."""
        bought = np.flatnonzero(batch.kind == PURCHASE)
        if not len(bought):
            return
        item, at_ms = batch.item[bought], batch.at_ms[bought]
        buyer = self._assign_buyer_rows(batch.shopper[bought])
        basket = first_occurrence(self.baskets.append(buyer, item, at_ms, at_ms - self.window_ms))
        basket[basket == item[:, None]] = NO_ROW
        event, position = np.nonzero(basket >= 0)
        first, second = basket[event, position], item[event]
        self.table.add(
            np.concatenate([first, second]),
            np.concatenate([second, first]),
            np.tile(batch.weight[bought][event], 2),
            np.tile(at_ms[event], 2),
        )

    def neighbours(self, items: Rows, k: int, sold_out: Flags | None = None) -> ScoredLists:
        """The items most bought with each of these, without sold-out ones; scores are shares."""
        return top_neighbours(self.table, items, k, sold_out)

    def take_changed(self, limit: int | None = None, start: int = 0) -> Rows:
        """The items whose neighbours changed since they were taken, as `TopPartners` has it."""
        return self.table.take_changed(limit, start)

    def remove_shoppers(self, rows: Rows) -> None:
        """Remove the baskets of these shoppers; their rows among the buyers are free."""
        rows = rows[rows < len(self.buyer)]
        rows = rows[self.buyer[rows] >= 0]
        self.baskets.remove_shoppers(self.buyer[rows])
        self._free = np.sort(np.concatenate([self._free, self.buyer[rows]]))
        self.buyer[rows] = NO_ROW
        self._dirty_rows.mark(rows)

    def remove_items(self, rows: Rows) -> None:
        """Remove these items from partners and baskets."""
        self.table.remove_rows(rows)
        self.table.remove_partners(rows)
        self.baskets.remove_items(rows)

    def tables(self) -> Sequence[Table]:
        """The partners of each item, the basket of each buyer, the buyer row of each shopper."""
        buyers = Table({"buyer": self.buyer}, self._dirty_rows)
        return [*self.table.tables(), *self.baskets.tables(), buyers]

    def scalars(self) -> Arrays:
        """The clock of the decay."""
        return self.table.scalars()

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self.table.restore(arrays)
        self.baskets.restore(arrays)
        self.buyer = arrays["buyer"].astype(np.int32)
        self.buyers = self.baskets.rows
        used = self.buyer[self.buyer >= 0]
        self._free = np.setdiff1d(np.arange(self.buyers, dtype=np.int32), used)
        self._dirty_rows = DirtyRows(len(self.buyer))

    def _assign_buyer_rows(self, shopper: Rows) -> Rows:
        """The buyer row of each shopper; new buyers, in order of shopper row, get a free one."""
        self.buyer = grow(self.buyer, int(shopper.max()) + 1, NO_ROW)
        self._dirty_rows.ensure_rows(len(self.buyer))
        new = np.unique(shopper[self.buyer[shopper] < 0])
        reused, self._free = self._free[: len(new)], self._free[len(new) :]
        added = len(new) - len(reused)
        self.buyer[new] = np.append(reused, np.arange(self.buyers, self.buyers + added))
        self._dirty_rows.mark(new)
        self.buyers += added
        return self.buyer[shopper]
