"""What the session holds already: in many shops the likeliest next click is a step back.

Whether and when that is so is for the blend to find out. Change freely.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import best_items, first_seen
from operators.tables.table import Kept, Table
from operators.tables.top_partners import grown
from state.dirty_rows import Marks
from state.interactions import NOBODY, Lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Interactions, Requests, Rows


class Again(Kept):
    """The items of the running session, newest first, each step back counting `fading` as much.

    known bool[items]: an item that was forgotten is not listed though a context still holds it.
    """

    name = "again"
    asked_last = False

    def __init__(self, *, fading: float = 0.7) -> None:
        self.fading = fading
        self.items = 0
        self.known: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._marks = Marks()

    def learn_many(self, batch: Interactions) -> None:
        """Learn which items there are."""
        if not len(batch):
            return
        rows = int(batch.item.max()) + 1
        self.known = grown(self.known, rows, False)
        self.items = max(self.items, rows)
        self._marks.reach(rows)
        self._marks.mark(batch.item[~self.known[batch.item]])
        self.known[batch.item] = True

    def candidates(self, requests: Requests, k: int) -> Lists:
        """The session's items, each its own reason."""
        context = first_seen(requests.context)
        n, reach = context.shape
        there = (context >= 0) & (context < self.items)
        if self.items:
            there &= self.known[np.where(there, context, 0)]
        item = np.where(there, context, np.int32(NOBODY))
        score = np.float32(self.fading) ** np.arange(reach, dtype=np.float32)
        return best_items(item, np.broadcast_to(score, (n, reach)), item, k, repeats=1)

    def forget_shoppers(self, rows: Rows) -> None:
        """Nothing here is about a shopper."""

    def forget_items(self, rows: Rows) -> None:
        """These items were never seen."""
        rows = rows[rows < self.items]
        self.known[rows] = False
        self._marks.mark(rows)

    def tables(self) -> Sequence[Table]:
        """Which items there are."""
        return [Table({"known": self.known[: self.items]}, self._marks)]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.known = arrays["known"].astype(np.bool_)
        self.items = len(self.known)
        self._marks = Marks(self.items)
