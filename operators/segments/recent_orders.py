"""The orders of the last day: shopper, time, value, and the segments that each counts for.

An order counts for the segments its shopper was in just before it and, separately, just after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from operators.tables.column_pool import Column, ColumnPool
from state.arrays import NO_ROW
from state.money import add_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from operators.segments.segment_registry import SegmentIndexes
    from state.arrays import Rows, Times

    Counted = NDArray[np.int64]

BEFORE, AFTER = 1, 2
FREE = -2
"""The segment of a free slot. NO_ROW is the segment of the order itself, which counts for the shop."""


class OrderTotals(NamedTuple):
    """By segment int64[n], and last of the whole shop: orders and their value (millionths) by shoppers
    who were in it just before and just after the order, and the number of the shoppers before."""

    orders: Counted
    micros: Counted
    buyers: Counted
    orders_after: Counted
    micros_after: Counted


class RecentOrders(ColumnPool):
    """A slot for each order, and one for each segment it counts for. 27 bytes each.

    order int32[n] (the slot of the order), owner int32[n], segment int16[n], flags uint8[n], at_ms and
    micros int64[n].
    """

    PREFIX = "sold"
    COLUMNS: ClassVar[Mapping[str, Column]] = {
        "order": Column("order", np.int32, NO_ROW),
        "owner": Column("owner", np.int32, NO_ROW),
        "segment": Column("segment", np.int16, FREE),
        "flags": Column("when", np.uint8, 0),
        "at_ms": Column("at_ms", np.int64, 0),
        "micros": Column("micros", np.int64, 0),
    }
    FREE_COLUMN, FREE = "segment", FREE
    order: Rows
    owner: Rows
    segment: SegmentIndexes
    flags: NDArray[np.uint8]
    at_ms: Times
    micros: Times

    def add(self, row: int, at_ms: int, micros: int, flags_by_segment: Mapping[int, int]) -> None:
        """Add an order; the flags of a segment are BEFORE, AFTER or both."""
        order = self._allocate()
        self._set(order, order, row, NO_ROW, BEFORE | AFTER, at_ms, micros)
        for segment, flags in flags_by_segment.items():
            self._set(self._allocate(), order, row, segment, flags, at_ms, micros)

    def orders_of(self, row: int, since_ms: int) -> list[tuple[int, int, int]]:
        """Return a shopper's orders since a time: slot, time (ms), value."""
        used = slice(self.length)
        is_own = (self.owner[used] == row) & (self.at_ms[used] >= since_ms)
        slots = np.flatnonzero(is_own & (self.segment[used] == NO_ROW)).tolist()
        return [(slot, int(self.at_ms[slot]), int(self.micros[slot])) for slot in slots]

    def flags_of(self, order: int) -> dict[int, int]:
        """Return the segments that an order counts for, with their flags."""
        slots = self._slots_of(order)
        return dict(zip(self.segment[slots].tolist(), self.flags[slots].tolist(), strict=True))

    def set_flags(self, order: int, flags_by_segment: Mapping[int, int]) -> None:
        """Set the flags of these segments for an order; 0 removes one. Other segments stay."""
        slots = self._slots_of(order)
        slot_of = dict(zip(self.segment[slots].tolist(), slots.tolist(), strict=True))
        row, at_ms, micros = (
            int(column[order]) for column in (self.owner, self.at_ms, self.micros)
        )
        for segment, flags in flags_by_segment.items():
            slot = slot_of.get(segment)
            if slot is None and flags:
                self._set(self._allocate(), order, row, segment, flags, at_ms, micros)
            elif slot is not None and flags:
                self.flags[slot] = flags
                self._dirty_rows.mark(slot)
            elif slot is not None:
                self._free_slots([slot])

    def retract(self, order: int) -> None:
        """Delete an order."""
        self._free_slots([order, *self._slots_of(order).tolist()])

    def reassign(self, row: int, into: int) -> None:
        """Move a shopper's orders to another row; to NO_ROW: they count for the shop only."""
        slots = np.flatnonzero(self.owner[: self.length] == row)
        self.owner[slots] = into
        self._dirty_rows.mark(slots)

    def erase(self, row: int) -> None:
        """Delete a shopper's orders."""
        self._free_slots(np.flatnonzero(self.owner[: self.length] == row).tolist())

    def counts_for(self, segment: int) -> bool:
        """Return whether an order counts for a segment."""
        return bool((self.segment[: self.length] == segment).any())

    def drop_before(self, before_ms: int) -> None:
        """Delete orders before a time."""
        used = slice(self.length)
        expired = (self.segment[used] != FREE) & (self.at_ms[used] < before_ms)
        self._free_slots(np.flatnonzero(expired).tolist())

    def totals(self, after_ms: int, segments: int) -> OrderTotals:
        """Return the totals after a time."""
        used = slice(self.length)
        is_recent = (self.segment[used] != FREE) & (self.at_ms[used] > after_ms)
        segment = self.segment[used][is_recent].astype(np.int64)
        segment[segment == NO_ROW] = segments
        flags, micros = self.flags[used][is_recent], self.micros[used][is_recent]
        owner = self.owner[used][is_recent]
        sums: list[Counted] = []
        for flag in (BEFORE, AFTER):
            has_flag = (flags & flag) > 0
            orders = np.bincount(segment[has_flag], minlength=segments + 1)
            value = np.zeros(segments + 1, np.int64)
            add_at(value, segment[has_flag], micros[has_flag])
            sums += [orders, value]
        is_named = ((flags & BEFORE) > 0) & (owner != NO_ROW)
        buyer_keys = np.unique((segment[is_named] << 32) | owner[is_named])
        buyers = np.bincount(buyer_keys >> 32, minlength=segments + 1)
        return OrderTotals(sums[0], sums[1], buyers, sums[2], sums[3])

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore what `tables` returned; an older release stored none."""
        self._load(arrays)

    def _slots_of(self, order: int) -> NDArray[np.intp]:
        used = slice(self.length)
        return np.flatnonzero((self.order[used] == order) & (self.segment[used] >= 0))

    def _set(
        self, slot: int, order: int, row: int, segment: int, flags: int, at_ms: int, micros: int
    ) -> None:
        self.order[slot], self.owner[slot] = order, row
        self.segment[slot], self.flags[slot] = segment, flags
        self.at_ms[slot], self.micros[slot] = at_ms, micros
        self._dirty_rows.mark(slot)

    def _free_slots(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self.order[slot] = self.owner[slot] = NO_ROW
            self.segment[slot] = FREE
            self._dirty_rows.mark(slot)
            self._free.append(slot)
