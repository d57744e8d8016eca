"""Items of the running session: in many shops the likeliest next click is a step back.

Two orders of them, since shops differ: by how lately, and by how often. The blend learns whether and
when each is right. Change freely, but the names `again` and `often`, which are stored and public.
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
    from state.arrays import Rows, Weights
    from state.interactions import Interactions, ListRequests, ScoredLists


class Revisits(TableState, ReplicatedColumns):
    """The items of the running session, newest first; each step back counts `step_decay` as much.

    known bool[items]: a removed item is no candidate, though a context may still hold it.
    """

    name = "again"
    is_reranker = False

    adds_up = False
    """Whether an item's clicks add up, or the newest one counts."""

    def __init__(self, *, step_decay: float = 0.7) -> None:
        self.step_decay = step_decay
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

    def position_weights(self, length: int) -> Weights:
        """What a click counts by its position in a session of so many items, newest first."""
        weights: Weights = np.float32(self.step_decay) ** np.arange(length, dtype=np.float32)
        return weights

    def candidates(self, requests: ListRequests, k: int) -> ScoredLists:
        """The items of the session, each its own reason."""
        lists = empty_lists(len(requests), k)
        partners.revisits(
            requests.context,
            self.known[: self.items],
            self.position_weights(requests.context.shape[1]),
            self.adds_up,
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


class OftenVisited(Revisits):
    """The items of the running session, by how often and how lately they were clicked.

    A click n steps back counts (n + 1)**-exponent, and an item's clicks add up, as uses do in memory
    (Anderson and Schooler, "Reflections of the environment in memory", Psychological Science 1991).
    """

    name = "often"
    adds_up = True

    def __init__(self, *, exponent: float = 0.5) -> None:
        super().__init__()
        self.exponent = exponent

    def position_weights(self, length: int) -> Weights:
        """What a click counts by its position in a session of so many items, newest first."""
        weights: Weights = np.arange(1, 1 + length, dtype=np.float32) ** np.float32(-self.exponent)
        return weights
