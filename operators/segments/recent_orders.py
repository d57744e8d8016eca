"""The orders of the last day: shopper, time, value, and the segments that each counts for.

An order counts for the segments its shopper was in just before it and, separately, just after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.money import add_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from operators.segments.membership_columns import SegmentIndexes
    from state.arrays import Rows, Times

    Counted = NDArray[np.int64]

BEFORE, AFTER = 1, 2
FREE = -2
"""The segment of a free slot. NO_ROW is the segment of the order itself, which counts for the
shop."""


class OrderTotals(NamedTuple):
    """By segment int64[n], and last of the whole shop: orders and their value (millionths) by
    shoppers who were in it just before and just after the order, and the number of the shoppers
    before."""

    orders: Counted
    micros: Counted
    buyers: Counted
    orders_after: Counted
    micros_after: Counted


class RecentOrders(TableState):
    """A pool: a slot for each order, and one for each segment it counts for. 27 bytes each.

    order int32[n] (the slot of the order), owner int32[n], segment int16[n], when uint8[n], at_ms
    and micros int64[n].
    """

    def __init__(self) -> None:
        self.restore({})

    def add(self, row: int, at_ms: int, micros: int, flags_by_segment: Mapping[int, int]) -> None:
        """Add an order; the flags of a segment are BEFORE, AFTER or both."""
        order = self._allocate()
        self._set(order, order, row, NO_ROW, BEFORE | AFTER, at_ms, micros)
        for segment, flags in flags_by_segment.items():
            self._set(self._allocate(), order, row, segment, flags, at_ms, micros)

    def orders_of(self, row: int, since_ms: int) -> list[tuple[int, int, int]]:
        """Return a shopper's orders since a time: slot, time (ms), value."""
        part = slice(self.length)
        is_order = (self._owner[part] == row) & (self._at_ms[part] >= since_ms)
        slots = np.flatnonzero(is_order & (self._segment[part] == NO_ROW)).tolist()
        return [(place, int(self._at_ms[place]), int(self._micros[place])) for place in slots]

    def flags_of(self, order: int) -> dict[int, int]:
        """Return the segments that an order counts for, with their flags."""
        slots = self._slots_of(order)
        return dict(zip(self._segment[slots].tolist(), self._when[slots].tolist(), strict=True))

    def set_flags(self, order: int, flags_by_segment: Mapping[int, int]) -> None:
        """Set the flags of these segments for an order; 0 removes one. Other segments stay."""
        slots = self._slots_of(order)
        slot_of = dict(zip(self._segment[slots].tolist(), slots.tolist(), strict=True))
        row, at_ms, micros = (int(one[order]) for one in (self._owner, self._at_ms, self._micros))
        for segment, flags in flags_by_segment.items():
            slot = slot_of.get(segment)
            if slot is None and flags:
                self._set(self._allocate(), order, row, segment, flags, at_ms, micros)
            elif slot is not None and flags:
                self._when[slot] = flags
                self._dirty_rows.mark(slot)
            elif slot is not None:
                self._free_slots([slot])

    def retract(self, order: int) -> None:
        """Delete an order."""
        self._free_slots([order, *self._slots_of(order).tolist()])

    def reassign(self, row: int, into: int) -> None:
        """Move a shopper's orders to another row; to NO_ROW: they count for the shop without an
        owner."""
        slots = np.flatnonzero(self._owner[: self.length] == row)
        self._owner[slots] = into
        self._dirty_rows.mark(slots)

    def erase(self, row: int) -> None:
        """Delete a shopper's orders."""
        self._free_slots(np.flatnonzero(self._owner[: self.length] == row).tolist())

    def counts_for(self, segment: int) -> bool:
        """Return whether an order counts for a segment."""
        return bool((self._segment[: self.length] == segment).any())

    def drop_before(self, before_ms: int) -> None:
        """Delete orders before a time."""
        used = slice(self.length)
        expired = (self._segment[used] != FREE) & (self._at_ms[used] < before_ms)
        self._free_slots(np.flatnonzero(expired).tolist())

    def totals(self, after_ms: int, segments: int) -> OrderTotals:
        """Return the totals after a time."""
        used = slice(self.length)
        is_recent = (self._segment[used] != FREE) & (self._at_ms[used] > after_ms)
        segment = self._segment[used][is_recent].astype(np.int64)
        segment[segment == NO_ROW] = segments
        when, micros, owner = (
            self._when[used][is_recent],
            self._micros[used][is_recent],
            self._owner[used],
        )
        sums: list[Counted] = []
        for flag in (BEFORE, AFTER):
            counts_now = (when & flag) > 0
            orders = np.bincount(segment[counts_now], minlength=segments + 1)
            value = np.zeros(segments + 1, np.int64)
            add_at(value, segment[counts_now], micros[counts_now])
            sums += [orders, value]
        is_named = ((when & BEFORE) > 0) & (owner[is_recent] != NO_ROW)
        buyer_keys = np.unique((segment[is_named] << 32) | owner[is_recent][is_named])
        buyers = np.bincount(buyer_keys >> 32, minlength=segments + 1)
        return OrderTotals(sums[0], sums[1], buyers, sums[2], sums[3])

    def tables(self) -> list[Table]:
        """The pool."""
        columns = {f"sold.{name}": getattr(self, f"_{name}")[: self.length] for name in _COLUMNS}
        return [Table(columns, self._dirty_rows)]

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore what `tables` returned; an older release stored none."""
        columns = [arrays.get(f"sold.{name}", np.empty(0)) for name in _COLUMNS]
        order, owner, segment, when, at_ms, micros = columns
        self._order: Rows = order.astype(np.int32)
        self._owner: Rows = owner.astype(np.int32)
        self._segment: SegmentIndexes = segment.astype(np.int16)
        self._when: NDArray[np.uint8] = when.astype(np.uint8)
        self._at_ms: Times = at_ms.astype(np.int64)
        self._micros: Times = micros.astype(np.int64)
        self.length = len(self._order)
        self._free: list[int] = np.flatnonzero(self._segment == FREE)[::-1].tolist()
        self._dirty_rows = DirtyRows(self.length)

    def _slots_of(self, order: int) -> NDArray[np.intp]:
        used = slice(self.length)
        return np.flatnonzero((self._order[used] == order) & (self._segment[used] >= 0))

    def _allocate(self) -> int:
        if self._free:
            return self._free.pop()
        slot, self.length = self.length, self.length + 1
        if slot == len(self._order):
            self._order = grow(self._order, self.length, NO_ROW)
            self._owner = grow(self._owner, self.length, NO_ROW)
            self._segment = grow(self._segment, self.length, FREE)
            self._when = grow(self._when, self.length, 0)
            self._at_ms = grow(self._at_ms, self.length, 0)
            self._micros = grow(self._micros, self.length, 0)
        self._dirty_rows.ensure_rows(self.length)
        return slot

    def _set(
        self, slot: int, order: int, row: int, segment: int, when: int, at_ms: int, micros: int
    ) -> None:
        self._order[slot], self._owner[slot] = order, row
        self._segment[slot], self._when[slot] = segment, when
        self._at_ms[slot], self._micros[slot] = at_ms, micros
        self._dirty_rows.mark(slot)

    def _free_slots(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self._order[slot] = self._owner[slot] = NO_ROW
            self._segment[slot] = FREE
            self._dirty_rows.mark(slot)
            self._free.append(slot)


_COLUMNS = ("order", "owner", "segment", "when", "at_ms", "micros")
