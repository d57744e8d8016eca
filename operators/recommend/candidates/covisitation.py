"""Order-aware co-visitation: what was looked at after, and before, the items of the session.

Also what is bought together. Change the constants only with `python -m benchmarks.recommend`
beside it: they were chosen there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.session_contexts import Contexts
from operators.tables.array_ops import best_items, first_seen
from operators.tables.table import Kept, Table
from operators.tables.top_partners import HeaviestPartners, grown
from state.dirty_rows import Marks
from state.interactions import NOBODY, PURCHASE, Lists
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.catalogue.item_features import Flags
    from operators.tables.table import Arrays
    from state.interactions import Interactions, Requests, Rows


class Covisitation(Kept):
    """Item-to-item transitions inside sessions, counted with decay.

    Each of the last `reach` different items of the session gains the event's weight divided by its
    distance as "then came this one", and this one gains `backward` times that as "came from". An item
    looked at twice in a row leads to itself: repeats are a third of all next clicks.
    Sequential rules as in Ludewig and Jannach, "Evaluation of session-based recommendation
    algorithms", UMUAI 2018 (SR), made incremental, with the way back added.

    A list is the sum of the transition shares of the context items, the newest counting most, each
    further one `fading` times the one before.
    """

    name = "covisitation"
    asked_last = False

    def __init__(
        self,
        *,
        width: int = 64,
        half_life_ms: int = 30 * DAY_MS,
        reach: int = 4,
        backward: float = 0.5,
        fading: float = 0.4,
    ) -> None:
        self.table = HeaviestPartners(width, half_life_ms)
        self.reach = reach
        self.backward = backward
        self.fading = fading

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order."""
        context = first_seen(batch.context[:, : self.reach])
        event, place = np.nonzero(context >= 0)
        before, now = context[event, place], batch.item[event]
        weight = (batch.weight[event] / (place + 1)).astype(np.float32)
        self.table.add(
            np.concatenate([before, now]),
            np.concatenate([now, before]),
            np.concatenate([weight, weight * np.float32(self.backward)]),
            np.tile(batch.at_ms[event], 2),
        )

    def candidates(self, requests: Requests, k: int) -> Lists:
        """At most k items for each request; scores are shares, at most 1 in all."""
        context = first_seen(requests.context[:, : self.reach])
        n, reach = context.shape
        item, weight = self.table.take(context)
        share = np.float32(self.fading) ** np.arange(reach, dtype=np.float32)
        share = share / share.sum() / np.maximum(weight.sum(axis=2), np.finfo(np.float32).tiny)
        score = (weight * share[:, :, None]).astype(np.float32)
        because = np.repeat(context, self.table.width, axis=1)
        wide = (n, reach * self.table.width)
        return best_items(item.reshape(wide), score.reshape(wide), because, k, repeats=reach)

    def neighbours(self, items: Rows, k: int, sold_out: Flags | None = None) -> Lists:
        """The items that go best with each of these, itself left out and what cannot be had; scores are
        shares."""
        return _neighbours(self.table, items, k, sold_out)

    def take_changed(self, most: int | None = None, start: int = 0) -> Rows:
        """The items whose neighbours changed since they were taken, as `HeaviestPartners` has it."""
        return self.table.take_changed(most, start)

    def forget_shoppers(self, rows: Rows) -> None:
        """Nothing here is about a shopper."""

    def forget_items(self, rows: Rows) -> None:
        """These items were never seen."""
        self.table.forget_rows(rows)
        self.table.forget_partners(rows)

    def tables(self) -> Sequence[Table]:
        """The transitions of each item."""
        return self.table.tables()

    def small(self) -> Arrays:
        """The clock."""
        return self.table.small()

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.table.restore(arrays)


class BoughtTogether(Kept):
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
        self.table = HeaviestPartners(width, half_life_ms)
        self.window_ms = window_ms
        self.baskets = Contexts(basket)
        self.buyers = 0
        self.buyer: Rows = np.empty(0, np.int32)
        self._free: Rows = np.empty(0, np.int32)
        self._marks = Marks()

    def learn_many(self, batch: Interactions) -> None:
        """Learn the purchases of a batch, in its order."""
        bought = np.flatnonzero(batch.kind == PURCHASE)
        if not len(bought):
            return
        item, at_ms = batch.item[bought], batch.at_ms[bought]
        buyer = self._buyer_rows(batch.shopper[bought])
        basket = first_seen(self.baskets.advance(buyer, item, at_ms, at_ms - self.window_ms))
        basket[basket == item[:, None]] = NOBODY
        event, place = np.nonzero(basket >= 0)
        one, other = basket[event, place], item[event]
        self.table.add(
            np.concatenate([one, other]),
            np.concatenate([other, one]),
            np.tile(batch.weight[bought][event], 2),
            np.tile(at_ms[event], 2),
        )

    def neighbours(self, items: Rows, k: int, sold_out: Flags | None = None) -> Lists:
        """The items most often bought with each of these, but for what cannot be had; scores are
        shares."""
        return _neighbours(self.table, items, k, sold_out)

    def take_changed(self, most: int | None = None, start: int = 0) -> Rows:
        """The items whose neighbours changed since they were taken, as `HeaviestPartners` has it."""
        return self.table.take_changed(most, start)

    def forget_shoppers(self, rows: Rows) -> None:
        """These shoppers never bought; their places among the buyers are free."""
        rows = rows[rows < len(self.buyer)]
        rows = rows[self.buyer[rows] >= 0]
        self.baskets.forget_shoppers(self.buyer[rows])
        self._free = np.sort(np.concatenate([self._free, self.buyer[rows]]))
        self.buyer[rows] = NOBODY
        self._marks.mark(rows)

    def forget_items(self, rows: Rows) -> None:
        """These items were never bought."""
        self.table.forget_rows(rows)
        self.table.forget_partners(rows)
        self.baskets.forget_items(rows)

    def tables(self) -> Sequence[Table]:
        """The company of each item, the basket of each buyer, the buyer of each shopper."""
        buyers = Table({"buyer": self.buyer}, self._marks)
        return [*self.table.tables(), *self.baskets.tables(), buyers]

    def small(self) -> Arrays:
        """The clock."""
        return self.table.small()

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.table.restore(arrays)
        self.baskets.restore(arrays)
        self.buyer = arrays["buyer"].astype(np.int32)
        self.buyers = self.baskets.rows
        taken = self.buyer[self.buyer >= 0]
        self._free = np.setdiff1d(np.arange(self.buyers, dtype=np.int32), taken)
        self._marks = Marks(len(self.buyer))

    def _buyer_rows(self, shopper: Rows) -> Rows:
        """The row of each shopper among the buyers: new ones, in order of shopper, get a free one."""
        self.buyer = grown(self.buyer, int(shopper.max()) + 1, NOBODY)
        self._marks.reach(len(self.buyer))
        new = np.unique(shopper[self.buyer[shopper] < 0])
        again, self._free = self._free[: len(new)], self._free[len(new) :]
        more = len(new) - len(again)
        self.buyer[new] = np.append(again, np.arange(self.buyers, self.buyers + more))
        self._marks.mark(new)
        self.buyers += more
        return self.buyer[shopper]


def _neighbours(table: HeaviestPartners, items: Rows, k: int, sold_out: Flags | None) -> Lists:
    partner, weight = table.take(items)
    weight[partner == items[:, None]] = 0
    if sold_out is not None:
        weight[sold_out[partner]] = 0
    weight /= np.maximum(weight.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
    because = np.broadcast_to(items[:, None], partner.shape)
    return best_items(partner, weight, because, k, repeats=1)
