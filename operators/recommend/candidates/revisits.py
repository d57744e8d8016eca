"""Items of the running session: in many shops the likeliest next click is a step back.

The blend learns whether and when that is so. Change freely, but the name `again`, which is stored and
public.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking import partners
from operators.tables.array_ops import grow
from operators.tables.replication import ChangedRows, Replicated, ReplicatedColumns
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows
from state.interactions import empty_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows
    from state.interactions import Interactions, ListRequests, ScoredLists


class Revisits(TableState, ReplicatedColumns):
    """The items of the running session, newest first; each step back counts `position_decay` as much.

    known bool[items]: a removed item is no candidate, though a context may still hold it.
    """

    name = "again"
    is_reranker = False

    def __init__(self, *, position_decay: float = 0.7) -> None:
        self.position_decay = position_decay
        self.items = 0
        self.known: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.changed_rows = ChangedRows()
        self._dirty_rows = DirtyRows()

    def learn_many(self, batch: Interactions) -> None:
        """Learn which items exist."""
        if not len(batch):
            return
        self.ensure_rows(int(batch.item.max()) + 1)
        new = batch.item[~self.known[batch.item]]
        self._dirty_rows.mark(new)
        self.changed_rows.mark(new)
        self.known[batch.item] = True

    def candidates(self, requests: ListRequests, k: int) -> ScoredLists:
        """The items of the session, each its own reason."""
        length = requests.context.shape[1]
        lists = empty_lists(len(requests), k)
        partners.revisits(
            requests.context,
            self.known[: self.items],
            np.float32(self.position_decay) ** np.arange(length, dtype=np.float32),
            lists.item,
            lists.score,
            lists.reason_item,
        )
        return lists

    def remove_shoppers(self, rows: Rows) -> None:
        """Nothing is stored of single shoppers."""

    def remove_items(self, rows: Rows) -> None:
        """Remove what was learned of these items."""
        rows = rows[rows < self.items]
        self.known[rows] = False
        self._dirty_rows.mark(rows)
        self.changed_rows.mark(rows)

    def replicated_tables(self) -> Sequence[Replicated]:
        """Which items exist."""
        return (self,)

    def replicated_columns(self) -> tuple[NDArray[np.bool_]]:
        """Which items exist."""
        return (self.known[: self.items],)

    def ensure_rows(self, rows: int) -> None:
        """Extend the table to at least so many items, none of which exists."""
        self.known = grow(self.known, rows, False)
        self.items = max(self.items, rows)
        self._dirty_rows.ensure_rows(rows)

    def tables(self) -> Sequence[Table]:
        """Which items exist."""
        return [Table({"known": self.known[: self.items]}, self._dirty_rows)]

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self.known = arrays["known"].astype(np.bool_)
        self.items = len(self.known)
        self._dirty_rows = DirtyRows(self.items)
