"""The published lists of a sample of shoppers, and when each item was last in one of them.

The names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import grow, isin_rows
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times


class SampledLists(TableState):
    """The newest lists of one shopper row in `one_in` (0: of none), in at most `slots_max` slots.

    The row decides whether a shopper is in the sample, and the slot. Two shoppers of one slot replace
    each other. 5 * k + 12 bytes a slot, 4 bytes an item:

    item int32[slots, k], learner int8[slots, k]   the list, and the learner of each item by index
    shopper int32[slots], at_ms int64[slots]       the owner, and their newest click at that time
    listed_day int32[items]                        the last day (UTC) on which an item was in such a list
    """

    def __init__(self, k: int, one_in: int, slots_max: int) -> None:
        self._k = k
        self._one_in = one_in
        self._slots_max = slots_max
        self._slots = 0
        self.item = np.empty((0, k), np.int32)
        self.learner = np.empty((0, k), np.int8)
        self._shopper = np.empty(0, np.int32)
        self.at_ms = np.empty(0, np.int64)
        self._dirty_rows = DirtyRows()
        self._listed_day = np.empty(0, np.int32)
        self._items = 0
        self._dirty_items = DirtyRows()

    def sample(self, shopper: Rows) -> NDArray[np.intp]:
        """The indexes of the shoppers that are in the sample."""
        if not self._one_in:
            return np.empty(0, np.intp)
        return np.flatnonzero((shopper >= 0) & (shopper % self._one_in == 0))

    def store(self, shopper: Rows, item: Rows, learner: NDArray[np.int8], at_ms: Times) -> None:
        """Replace the lists of shoppers of the sample, each given once. An empty list is no list."""
        slot = self.slot_of(shopper)
        self._ensure_slots(int(slot.max()) + 1)
        self._shopper[slot] = np.where(item[:, 0] >= 0, shopper, NO_ROW)
        self.item[slot], self.learner[slot], self.at_ms[slot] = item, learner, at_ms
        self._dirty_rows.mark(slot)
        self._mark_listed(np.unique(item[item >= 0]), int(at_ms.max()) // DAY_MS)

    def slot_of(self, shopper: Rows) -> NDArray[np.intp]:
        """The slot of shoppers of the sample."""
        return np.asarray(shopper // max(self._one_in, 1) % self._slots_max, np.intp)

    def has_list(self, shopper: Rows) -> NDArray[np.bool_]:
        """Whether each shopper of the sample has a list here."""
        if not self._slots:
            return np.zeros(len(shopper), np.bool_)
        slot = self.slot_of(shopper)
        inside = slot < self._slots
        owner = self._shopper[np.where(inside, slot, 0)]
        return np.asarray(inside & (owner == shopper))

    def items_listed_since(self, day: int) -> int:
        """The number of items that were in a list on this day (UTC) or later."""
        return int(np.count_nonzero(self._listed_day[: self._items] >= day))

    def remove_shoppers(self, rows: Rows) -> None:
        """Remove the lists of these shoppers."""
        sampled = rows[self.sample(rows)]
        slot = self.slot_of(sampled[self.has_list(sampled)])
        self._shopper[slot] = NO_ROW
        self._dirty_rows.mark(slot)

    def remove_items(self, rows: Rows) -> None:
        """Remove these items from all lists."""
        item = self.item[: self._slots]
        is_removed = isin_rows(item, rows)
        item[is_removed] = NO_ROW
        self._dirty_rows.mark(np.flatnonzero(is_removed.any(axis=1)))
        rows = rows[rows < self._items]
        self._listed_day[rows] = 0
        self._dirty_items.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The lists, and the day of each item. Lists of another shape have other names."""
        lists: Arrays = {
            "item": self.item[: self._slots],
            "by": self.learner[: self._slots],
            "shopper": self._shopper[: self._slots],
            "at_ms": self.at_ms[: self._slots],
        }
        days: Arrays = {"listed_day": self._listed_day[: self._items]}
        return [
            Table(lists, self._dirty_rows).prefixed(self._table_prefix),
            Table(days, self._dirty_items),
        ]

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot; lists of another shape are left behind."""
        self._listed_day = arrays["listed_day"].astype(np.int32)
        self._items = len(self._listed_day)
        self._dirty_items = DirtyRows(self._items)
        prefix = self._table_prefix
        if f"{prefix}shopper" in arrays:
            self.item = arrays[f"{prefix}item"].astype(np.int32)
            self.learner = arrays[f"{prefix}by"].astype(np.int8)
            self._shopper = arrays[f"{prefix}shopper"].astype(np.int32)
            self.at_ms = arrays[f"{prefix}at_ms"].astype(np.int64)
            self._slots = len(self._shopper)
            self._dirty_rows = DirtyRows(self._slots)

    @property
    def _table_prefix(self) -> str:
        return f"lists-{self._k}-{self._one_in}-{self._slots_max}/"

    def _ensure_slots(self, slots: int) -> None:
        if slots > self._slots:
            self.item = grow(self.item, slots, NO_ROW)
            self.learner = grow(self.learner, slots, NO_ROW)
            self._shopper = grow(self._shopper, slots, NO_ROW)
            self.at_ms = grow(self.at_ms, slots, 0)
            self._dirty_rows.ensure_rows(slots)
            self._slots = slots

    def _mark_listed(self, items: Rows, day: int) -> None:
        """Note that these items, ascending, are in lists of this day."""
        if not len(items):
            return
        rows = int(items[-1]) + 1
        if rows > self._items:
            self._listed_day = grow(self._listed_day, rows, 0)
            self._dirty_items.ensure_rows(rows)
            self._items = rows
        items = items[self._listed_day[items] < day]
        self._listed_day[items] = day
        self._dirty_items.mark(items)
