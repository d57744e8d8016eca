"""Shoppers who lately looked at the same items, and what else they looked at: session neighbours.

Change the constants only with `make quality` beside it: they were chosen there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.session_contexts import LONG_AGO_MS, Contexts
from operators.tables.array_ops import (
    ROWS_AT_ONCE,
    ascending,
    best_items,
    first_seen,
    heaviest,
    sums,
)
from operators.tables.table import Kept, Table
from operators.tables.top_partners import grown, run_starts
from state.dirty_rows import Marks
from state.interactions import NOBODY, Lists, empty_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Interactions, Requests, Rows

_NOTHING = NOBODY - 1
"""What a place for a shared item holds that stands in no list of clicks, not even in an empty one."""


class SessionKnn(Kept):
    """Nearest neighbours among the last `length` clicks of every shopper, found by item.

    Each item knows the `recent` shoppers who came to it last. Of those of the last `reach` different
    items of the running session, the `neighbours` who share most of it count: an item one step back
    `fading` as much as the one after it, the n-th last shopper of an item n**-ageing. A neighbour's
    items count `distance` less a step from the shared item, those before it `backward` of that, the
    item itself `same`; a neighbour with many items counts less.

    Vector multiplication session kNN with bounded lists of recent sessions an item: Kersbergen,
    Sprangers and Schelter, "Serenade", SIGMOD 2022; weights by place, recency and distance: Garg et
    al., "Sequence and time aware neighborhood" (STAN), SIGIR 2019. There is no index to be rebuilt.

    visitor int32[items, recent]   who came, a ring; `visits` int64[items] how many in all
    """

    name = "session_knn"
    asked_last = False

    def __init__(
        self,
        *,
        length: int = 10,
        recent: int = 32,
        neighbours: int = 32,
        reach: int = 4,
        fading: float = 0.4,
        ageing: float = 0.4,
        distance: float = 0.6,
        backward: float = 0.4,
        same: float = 0.2,
    ) -> None:
        self.recent = recent
        self.neighbours = neighbours
        self.reach = reach
        self.fading = fading
        self.clicks = Contexts(length)
        self.items = 0
        self.visitor: Rows = np.empty((0, recent), np.int32)
        self.visits: NDArray[np.int64] = np.empty(0, np.int64)
        self._marks = Marks()
        self._by_age = (1 + np.arange(recent, dtype=np.float32)) ** np.float32(-ageing)
        # By the place of the shared item among the clicks and that of the other one, newest first.
        place = np.arange(length)
        apart = place[:, None] - place
        gain = np.float32(distance) ** np.maximum(np.abs(apart) - 1, 0).astype(np.float32)
        gain[apart < 0] *= np.float32(backward)
        gain[apart == 0] = same
        self._by_places = gain

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order."""
        if not len(batch):
            return
        before = self.clicks.advance(
            batch.shopper, batch.item, batch.at_ms, np.full(len(batch), LONG_AGO_MS)
        )
        came = ~(before == batch.item[:, None]).any(axis=1)
        self._visit(batch.item[came], batch.shopper[came])

    def _visit(self, item: Rows, shopper: Rows) -> None:
        """Shoppers came to items, in order."""
        if not len(item):
            return
        rows = int(item.max()) + 1
        self.visitor = grown(self.visitor, rows, NOBODY)
        self.visits = grown(self.visits, rows, 0)
        self._marks.reach(rows)
        self.items = max(self.items, rows)
        order = ascending(item)
        item, shopper = item[order], shopper[order]
        first = run_starts(item)
        count = np.diff(first, append=len(item))
        rank = np.arange(len(item)) - np.repeat(first, count)
        kept = rank >= np.repeat(count, count) - self.recent
        place = (self.visits[item] + rank) % self.recent
        self.visitor[item[kept], place[kept]] = shopper[kept]
        self.visits[item[first]] += count
        self._marks.mark(item)

    def candidates(self, requests: Requests, k: int) -> Lists:
        """At most k items for each request."""
        lists = empty_lists(len(requests), k)
        if self.items:
            for start in range(0, len(requests), ROWS_AT_ONCE):
                part = slice(start, start + ROWS_AT_ONCE)
                context = first_seen(requests.context[part, : self.reach])
                listed = self._listed(requests.shopper[part], context, k)
                lists.item[part], lists.score[part] = listed.item, listed.score
                lists.because[part] = listed.because
        return lists

    def _listed(self, shopper: Rows, context: Rows, k: int) -> Lists:
        n = len(context)
        near = self._near(shopper, context)
        shared = np.where(near.item >= 0, near.because, _NOTHING)
        item = self.clicks.take(near.item.ravel()).reshape(n, self.neighbours, -1)
        # The clicks are newest first: what came after the shared item stands before it. A neighbour
        # whose row is another shopper's now shares nothing.
        length = item.shape[2]
        is_shared = item == shared[:, :, None]
        earliest = length - 1 - is_shared[:, :, ::-1].argmax(axis=2)
        is_near = np.take_along_axis(is_shared, earliest[:, :, None], axis=2)[:, :, 0]
        clicks = (item >= 0) @ np.ones(length)
        much = np.where(is_near, np.sqrt(near.score) / np.sqrt(1 + clicks), 0).astype(np.float32)
        score = much[:, :, None] * self._by_places.take(earliest, axis=0)
        listed = np.where(much[:, :, None] > 0, item, NOBODY).reshape(n, -1)
        of = sums(listed, score.reshape(n, -1))
        # The nearest neighbour that has an item gives the reason.
        because = shared.ravel()[of.source[of.starts] // length]
        return heaviest(of, of.score, because, n, k)

    def _near(self, shopper: Rows, context: Rows) -> Lists:
        """The nearest shoppers, as `item`, and of each the newest item shared, as `because`."""
        n, reach = context.shape
        known = (context >= 0) & (context < self.items)
        rows = np.where(known, context, 0)
        visitor = self.visitor.take(rows, axis=0)
        visitor[~known] = NOBODY
        visitor[visitor == shopper[:, None, None]] = NOBODY
        # The newest of a ring is at the place before the next one to be written. What is behind it was
        # written a round ago: there a place below 0 counts from the end.
        newest = (self.visits[rows] - 1) % self.recent
        age = newest[:, :, None] - np.arange(self.recent)
        by_step = np.float32(self.fading) ** np.arange(reach, dtype=np.float32)
        score = self._by_age[age] * by_step[:, None]
        wide = (n, reach * self.recent)
        because = np.repeat(context, self.recent, axis=1)
        return best_items(
            visitor.reshape(wide), score.reshape(wide), because, self.neighbours, repeats=reach
        )

    def forget_shoppers(self, rows: Rows) -> None:
        """These shoppers never looked at anything."""
        self.clicks.forget_shoppers(rows)

    def forget_items(self, rows: Rows) -> None:
        """Nobody ever came to these items."""
        self.clicks.forget_items(rows)
        rows = rows[rows < self.items]
        self.visitor[rows], self.visits[rows] = NOBODY, 0
        self._marks.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The clicks of each shopper, the visitors of each item."""
        columns: Arrays = {
            "visitor": self.visitor[: self.items],
            "visits": self.visits[: self.items],
        }
        return [*self.clicks.tables(), Table(columns, self._marks)]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.clicks.restore(arrays)
        self.visitor = arrays["visitor"].astype(np.int32)
        self.visits = arrays["visits"].astype(np.int64)
        self.items = len(self.visits)
        self._marks = Marks(self.items)
