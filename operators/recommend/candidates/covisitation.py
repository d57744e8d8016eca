"""Order-aware co-visitation: what was looked at after, and before, the items of the session.

Also what is bought together. Change the constants only with `python -m benchmarks.recommend`
beside it: they were chosen there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.session_contexts import SessionContexts
from operators.tables.array_ops import first_occurrence, grow
from operators.tables.score_sums import best_items
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
    from state.interactions import Interactions, ListRequests


class Covisitation(TableState):
    """Item-to-item transitions inside sessions, counted with decay.

    Each of the last `reach` different items of the session gains the event's weight divided by its
    distance as "then came this one", and this one gains `backward_weight` times that as "came
    from". An item
    looked at twice in a row leads to itself: repeats are a third of all next clicks.
    Sequential rules as in Ludewig and Jannach, "Evaluation of session-based recommendation
    algorithms", UMUAI 2018 (SR), made incremental, with the way back added.

    A list is the sum of the transition shares of the context items, the newest counting most, each
    further one `position_decay` times the one before.
    """

    name = "covisitation"
    is_reranker = False

    def __init__(
        self,
        *,
        width: int = 64,
        half_life_ms: int = 30 * DAY_MS,
        context_items: int = 4,
        backward_weight: float = 0.5,
        position_decay: float = 0.4,
    ) -> None:
        self.table = TopPartners(width, half_life_ms)
        self.context_items = context_items
        self.backward_weight = backward_weight
        self.position_decay = position_decay

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order."""
        context = first_occurrence(batch.context[:, : self.context_items])
        event, position = np.nonzero(context >= 0)
        previous, current = context[event, position], batch.item[event]
        weight = (batch.weight[event] / (position + 1)).astype(np.float32)
        self.table.add(
            np.concatenate([previous, current]),
            np.concatenate([current, previous]),
            np.concatenate([weight, weight * np.float32(self.backward_weight)]),
            np.tile(batch.at_ms[event], 2),
        )

    def candidates(self, requests: ListRequests, k: int) -> ScoredLists:
        """At most k items for each request; scores are shares, at most 1 in all."""
        context = first_occurrence(requests.context[:, : self.context_items])
        n, length = context.shape
        item, weight = self.table.lookup(context)
        share = np.float32(self.position_decay) ** np.arange(length, dtype=np.float32)
        share = share / share.sum() / np.maximum(weight.sum(axis=2), np.finfo(np.float32).tiny)
        score = (weight * share[:, :, None]).astype(np.float32)
        because = np.repeat(context, self.table.width, axis=1)
        wide = (n, length * self.table.width)
        return best_items(item.reshape(wide), score.reshape(wide), because, k, repeats=length)

    def neighbours(self, items: Rows, k: int, sold_out: Flags | None = None) -> ScoredLists:
        """The items that go best with each of these, itself left out and what cannot be had; scores are
        shares."""
        return _top_neighbours(self.table, items, k, sold_out)

    def take_changed(self, limit: int | None = None, start: int = 0) -> Rows:
        """The items whose neighbours changed since they were taken, as `TopPartners` has it."""
        return self.table.take_changed(limit, start)

    def remove_shoppers(self, rows: Rows) -> None:
        """Nothing here is about a shopper."""

    def remove_items(self, rows: Rows) -> None:
        """These items were never seen."""
        self.table.remove_rows(rows)
        self.table.remove_partners(rows)

    def tables(self) -> Sequence[Table]:
        """The transitions of each item."""
        return self.table.tables()

    def scalars(self) -> Arrays:
        """The clock."""
        return self.table.scalars()

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.table.restore(arrays)


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
        """The items most often bought with each of these, but for what cannot be had; scores are
        shares."""
        return _top_neighbours(self.table, items, k, sold_out)

    def take_changed(self, limit: int | None = None, start: int = 0) -> Rows:
        """The items whose neighbours changed since they were taken, as `TopPartners` has it."""
        return self.table.take_changed(limit, start)

    def remove_shoppers(self, rows: Rows) -> None:
        """These shoppers never bought; their places among the buyers are free."""
        rows = rows[rows < len(self.buyer)]
        rows = rows[self.buyer[rows] >= 0]
        self.baskets.remove_shoppers(self.buyer[rows])
        self._free = np.sort(np.concatenate([self._free, self.buyer[rows]]))
        self.buyer[rows] = NO_ROW
        self._dirty_rows.mark(rows)

    def remove_items(self, rows: Rows) -> None:
        """These items were never bought."""
        self.table.remove_rows(rows)
        self.table.remove_partners(rows)
        self.baskets.remove_items(rows)

    def tables(self) -> Sequence[Table]:
        """The company of each item, the basket of each buyer, the buyer of each shopper."""
        buyers = Table({"buyer": self.buyer}, self._dirty_rows)
        return [*self.table.tables(), *self.baskets.tables(), buyers]

    def scalars(self) -> Arrays:
        """The clock."""
        return self.table.scalars()

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.table.restore(arrays)
        self.baskets.restore(arrays)
        self.buyer = arrays["buyer"].astype(np.int32)
        self.buyers = self.baskets.rows
        used = self.buyer[self.buyer >= 0]
        self._free = np.setdiff1d(np.arange(self.buyers, dtype=np.int32), used)
        self._dirty_rows = DirtyRows(len(self.buyer))

    def _assign_buyer_rows(self, shopper: Rows) -> Rows:
        """The row of each shopper among the buyers: new ones, in order of shopper, get a free one."""
        self.buyer = grow(self.buyer, int(shopper.max()) + 1, NO_ROW)
        self._dirty_rows.ensure_rows(len(self.buyer))
        new = np.unique(shopper[self.buyer[shopper] < 0])
        reused, self._free = self._free[: len(new)], self._free[len(new) :]
        added = len(new) - len(reused)
        self.buyer[new] = np.append(reused, np.arange(self.buyers, self.buyers + added))
        self._dirty_rows.mark(new)
        self.buyers += added
        return self.buyer[shopper]


def _top_neighbours(table: TopPartners, items: Rows, k: int, sold_out: Flags | None) -> ScoredLists:
    partner, weight = table.lookup(items)
    weight[partner == items[:, None]] = 0
    if sold_out is not None:
        weight[sold_out[partner]] = 0
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    because = np.broadcast_to(items[:, None], partner.shape)
    return best_items(partner, weight, because, k, repeats=1)
