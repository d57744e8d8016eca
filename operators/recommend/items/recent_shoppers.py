"""The session contexts of the shoppers of the last day: what the training of items knows of shoppers.

A context is what a click is learned with, so it must be known before the click is learned. Nothing else
of a shopper is kept here; who makes lists keeps contexts of all shoppers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.session_contexts import SessionContexts
from state.arrays import NO_ROW
from state.interactions import RowIndex
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from operators.tables.removal import Removable
    from state.arrays import Rows, Times

KEPT_MS = DAY_MS
"""A session without an item for so long has lost its context here."""
SHOPPERS_MIN = 4096
"""So few shoppers are never looked through for old ones."""


class RecentShoppers:
    """Rows of shoppers and their contexts. `others` keep something by the same rows.

    The rows of shoppers who were not active for `KEPT_MS` are freed whenever there are twice as many
    shoppers as were left the last time: the cost of each click stays constant.
    """

    def __init__(self, length: int, others: Sequence[Removable]) -> None:
        self.index = RowIndex()
        self.contexts = SessionContexts(length)
        self._others = others
        self._sweep_above = SHOPPERS_MIN

    def append(
        self, shoppers: Sequence[str], item: Rows, at_ms: Times, session_start_ms: Times
    ) -> tuple[Rows, Rows]:
        """Add a batch, in order of arrival; the rows of the shoppers, and the context of each event."""
        rows = self.index.get_or_add_many(shoppers)
        return rows, self.contexts.append(rows, item, at_ms, session_start_ms)

    def merge(self, name: str, user: str) -> None:
        """A shopper turned out to be a user, who inherits the context, or was erased ("")."""
        row = self.index.get(name)
        if row == NO_ROW:
            return
        self.contexts.merge(row, self.index.get_or_add(user) if user else NO_ROW)
        self._free(np.array([row], np.int32))

    def remove(self, names: Iterable[str]) -> None:
        """Keep nothing of these shoppers."""
        rows = sorted({row for name in names if (row := self.index.get(name)) != NO_ROW})
        if rows:
            self._free(np.array(rows, np.int32))

    def remove_old(self, now_ms: int) -> None:
        """Keep nothing of shoppers who were not active for long, if there are many shoppers."""
        if len(self.index.row_by_id) <= self._sweep_above:
            return
        rows = self.index.live_rows()
        rows = rows[self.contexts.last_ms[rows] < now_ms - KEPT_MS]
        self._free(rows)
        self._sweep_above = max(SHOPPERS_MIN, 2 * len(self.index.row_by_id))

    def _free(self, rows: Rows) -> None:
        self.contexts.remove_shoppers(rows)
        for other in self._others:
            other.remove_shoppers(rows)
        self.index.remove(rows)
