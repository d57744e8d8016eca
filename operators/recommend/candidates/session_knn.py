"""Session neighbours: shoppers who recently viewed the same items, and what else they viewed.

The constants were chosen with `make quality`: change them only with its figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking.session_contexts import record_visits
from operators.kernels.ranking.session_knn import session_knn
from operators.recommend.session_contexts import SessionContexts
from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.interactions import empty_lists
from state.times import NEVER_SEEN_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.replication import Replicated
    from operators.tables.table import Arrays
    from state.arrays import Rows
    from state.interactions import Interactions, ListRequests, ScoredLists


class SessionKnn(TableState):
    """Nearest neighbours among the last `clicks_per_shopper` clicks of every shopper, found by item.

    Each item has its last `visitors_per_item` shoppers. Of those of the last `context_items` different
    items of the running session, the `neighbours` who share most of it count: an item one step back
    counts `position_decay` as much as the one after it, the n-th last visitor of an item
    n**-recency_exponent. A neighbour's items count `distance_decay` as much with each step from the
    shared item, those before it `backward_weight` of that, the item itself `self_weight`; a neighbour
    with many items counts less.

    Vector multiplication session kNN with bounded lists of recent sessions an item: Kersbergen,
    Sprangers and Schelter, "Serenade", SIGMOD 2022; weights by position, recency and distance: Garg et
    al., "Sequence and time aware neighborhood" (STAN), SIGIR 2019. There is no index to rebuild.

    visitor int32[items, visitors_per_item]   a ring; `visits` int64[items] counts all of them
    """

    name = "session_knn"
    is_reranker = False

    def __init__(
        self,
        *,
        clicks_per_shopper: int = 10,
        visitors_per_item: int = 32,
        neighbours: int = 32,
        context_items: int = 4,
        position_decay: float = 0.4,
        recency_exponent: float = 0.4,
        distance_decay: float = 0.6,
        backward_weight: float = 0.4,
        self_weight: float = 0.2,
    ) -> None:
        self.visitors_per_item = visitors_per_item
        self.neighbours = neighbours
        self.context_items = context_items
        self.position_decay = position_decay
        self.clicks = SessionContexts(clicks_per_shopper)
        self.items = 0
        self.visitor: Rows = np.empty((0, visitors_per_item), np.int32)
        self.visits: NDArray[np.int64] = np.empty(0, np.int64)
        self._dirty_rows = DirtyRows()
        self.age_weights = (1 + np.arange(visitors_per_item, dtype=np.float32)) ** np.float32(
            -recency_exponent
        )
        # By the position of the shared item among the clicks and that of the other, newest first.
        position = np.arange(clicks_per_shopper)
        steps_apart = position[:, None] - position
        gain = np.float32(distance_decay) ** np.maximum(np.abs(steps_apart) - 1, 0).astype(
            np.float32
        )
        gain[steps_apart < 0] *= np.float32(backward_weight)
        gain[steps_apart == 0] = self_weight
        self.distance_weights = gain

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in order of arrival."""
        if not len(batch):
            return
        previous = self.clicks.append(
            batch.shopper, batch.item, batch.at_ms, np.full(len(batch), NEVER_SEEN_MS)
        )
        rows = int(batch.item.max()) + 1
        self.visitor = grow(self.visitor, rows, NO_ROW)
        self.visits = grow(self.visits, rows, 0)
        self._dirty_rows.ensure_rows(rows)
        self.items = max(self.items, rows)
        record_visits(batch.item, batch.shopper, previous, self.visitor, self.visits)
        self._dirty_rows.mark(batch.item)

    def candidates(self, requests: ListRequests, k: int) -> ScoredLists:
        """At most k items for each request."""
        length = min(self.context_items, requests.context.shape[1])
        lists = empty_lists(len(requests), k)
        session_knn(
            requests.shopper,
            requests.context,
            self.visitor[: self.items],
            self.visits[: self.items],
            self.clicks.recent[: self.clicks.rows],
            self.age_weights,
            np.float32(self.position_decay) ** np.arange(length, dtype=np.float32),
            self.distance_weights,
            self.neighbours,
            lists.item,
            lists.score,
            lists.reason_item,
        )
        return lists

    def remove_shoppers(self, rows: Rows) -> None:
        """Remove the clicks of these shoppers."""
        self.clicks.remove_shoppers(rows)

    def remove_items(self, rows: Rows) -> None:
        """Remove these items and their visitors."""
        self.clicks.remove_items(rows)
        rows = rows[rows < self.items]
        self.visitor[rows], self.visits[rows] = NO_ROW, 0
        self._dirty_rows.mark(rows)

    def replicated_tables(self) -> Sequence[Replicated]:
        """None: neighbours are found among the shoppers for whom lists are made, where they are."""
        return ()

    def tables(self) -> Sequence[Table]:
        """The clicks of each shopper, the visitors of each item."""
        columns: Arrays = {
            "visitor": self.visitor[: self.items],
            "visits": self.visits[: self.items],
        }
        return [*self.clicks.tables(), Table(columns, self._dirty_rows)]

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self.clicks.restore(arrays)
        self.visitor = arrays["visitor"].astype(np.int32)
        self.visits = arrays["visits"].astype(np.int64)
        self.items = len(self.visits)
        self._dirty_rows = DirtyRows(self.items)
