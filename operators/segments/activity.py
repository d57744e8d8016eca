"""What happened in each segment, exactly by event time: entries, exits, and orders.

An order counts for the segments its shopper was in just before it and, separately, just after it: a
membership change of the same millisecond comes after the order's "before". An order counts with all
membership changes that are known when its batch was processed. A change that becomes known later,
but is as old as the order, corrects the counts. So results depend neither on batches nor on
workers, and a recount from events and change streams gives the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.counts import (
    ENTERED,
    LEFT,
    ORDERS,
    ORDERS_AFTER,
    REVENUE_AFTER_MICROS,
    REVENUE_MICROS,
    SegmentCounts,
)
from operators.segments.past_memberships import PastMemberships
from operators.segments.recent_orders import AFTER, BEFORE, RecentOrders
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from operators.tables.table import Table

    CurrentMemberships = Callable[[int], Iterable[tuple[int, int]]]
    """The current segments of a shopper, each with the time of entry (ms)."""


_GOES_ON_MS = 1 << 62


class SegmentActivity:
    """Counts by minute and hour, past memberships and orders of the last day, by segment index and
    row.

    `current` returns a shopper's current memberships.
    """

    def __init__(self, current: CurrentMemberships) -> None:
        self.counts = SegmentCounts()
        self.past = PastMemberships()
        self.orders = RecentOrders()
        self._current = current
        self._late_changes: set[tuple[int, int, int]] = set()
        self._counted_at: dict[int, int] = {}

    def ensure_rows(self, rows: int) -> None:
        """Grow to at least this many shoppers."""
        self.past.ensure_rows(rows)

    def record_entry(self, row: int, segment: int, at_ms: int, ordered_ms: int) -> None:
        """Record an entry of a shopper whose last order was at `ordered_ms` (0 for none)."""
        self.counts.add(ENTERED, segment, at_ms)
        self.past.supersede(row, segment)
        if at_ms <= ordered_ms:
            self._late_changes.add((row, segment, at_ms))

    def record_exit(
        self, row: int, segment: int, since_ms: int, at_ms: int, ordered_ms: int
    ) -> None:
        """Record the exit of a shopper who had entered at `since_ms`."""
        self.counts.add(LEFT, segment, at_ms)
        self.past.record_exit(row, segment, since_ms, at_ms)
        if at_ms <= ordered_ms:
            self._late_changes.add((row, segment, at_ms))

    def add_order(self, row: int, micros: int, at_ms: int) -> None:
        """Add an order; the membership changes of its batch come first."""
        flags_by_segment = _flags_at(self._all_memberships(row), at_ms)
        self.orders.add(row, at_ms, micros, flags_by_segment)
        for segment, flags in flags_by_segment.items():
            self._count(segment, flags, micros, at_ms, 1)

    def retract_order(self, row: int, micros: int, at_ms: int) -> None:
        """Take back an order that was counted twice."""
        if row == NO_ROW:
            return
        for order, ordered_ms, value_micros in self.orders.orders_of(row, at_ms)[::-1]:
            if (ordered_ms, value_micros) == (at_ms, micros):
                for segment, flags in self.orders.flags_of(order).items():
                    self._count(segment, flags, micros, at_ms, -1)
                self.orders.retract(order)
                return

    def recount_late_changes(self) -> None:
        """Correct the counts of orders that are as new as a membership change that came later."""
        for row, segment, since_ms in sorted(self._late_changes):
            for order, at_ms, micros in self.orders.orders_of(row, since_ms):
                previous = self.orders.flags_of(order).get(segment, 0)
                flags = _flags_at(self._all_memberships(row), at_ms).get(segment, 0)
                if flags != previous:
                    self.orders.set_flags(order, {segment: flags})
                    self._count(segment, flags & ~previous, micros, at_ms, 1)
                    self._count(segment, previous & ~flags, micros, at_ms, -1)
        self._late_changes.clear()

    def merge(self, row: int, into: int, *, ordered: bool, into_ordered: bool) -> None:
        """Move a shopper's past memberships and orders, after it left all segments, to another row:
        it is one shopper, who was in all segments that either was in."""
        past = self.past.of_row(row)
        if ordered:
            memberships = self._all_memberships(into)
            for order, at_ms, micros in self.orders.orders_of(row, 0):
                self._add_segments(order, at_ms, micros, _flags_at(memberships, at_ms))
        if into_ordered and past:
            since_ms, left_ms = min(one[1] for one in past), max(one[2] for one in past)
            for order, at_ms, micros in self.orders.orders_of(into, since_ms):
                if at_ms <= left_ms:
                    self._add_segments(order, at_ms, micros, _flags_at(past, at_ms))
        self.past.move(row, into, {segment for segment, _ in self._current(into)})
        if ordered:
            self.orders.reassign(row, into)
        late = {one for one in self._late_changes if one[0] == row}
        self._late_changes -= late
        self._late_changes |= {(into, segment, since_ms) for _, segment, since_ms in late}

    def erase(self, row: int, *, ordered: bool) -> None:
        """Delete what a shopper did."""
        self.past.remove_shopper(row, erased=True)
        if ordered:
            self.orders.erase(row)

    def anonymize(self, row: int, *, ordered: bool) -> None:
        """Unlink an evicted shopper: what it did still counts, without an owner."""
        self.past.remove_shopper(row)
        if ordered:
            self.orders.reassign(row, NO_ROW)

    def is_quiet(self, segment: int, before_ms: int) -> bool:
        """Whether nothing of a segment is counted any more; deletes memberships that ended before a
        time."""
        if self._counted_at.get(segment) == self.counts.decreases:
            return False  # asked with every batch, and it takes a look at every minute and hour
        if not self.counts.is_empty(segment):
            self._counted_at[segment] = self.counts.decreases
            return False
        if self.orders.counts_for(segment):
            return False
        self._counted_at.pop(segment, None)
        return self.past.release_segment(segment, before_ms)

    def drop_before(self, before_ms: int) -> None:
        """Delete what is older than a time."""
        self.past.compact(before_ms)
        self.orders.drop_before(before_ms)

    def tables(self) -> Sequence[Table]:
        """The pools of past memberships and orders."""
        return [*self.past.tables(), *self.orders.tables()]

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], rows: int) -> None:
        """Restore what `tables` and the counts returned."""
        self.counts.restore(arrays)
        self.past.restore(arrays, rows)
        self.orders.restore(arrays)

    def _all_memberships(self, row: int) -> list[tuple[int, int, int]]:
        """Return all memberships of a shopper, past and current."""
        return self.past.of_row(row) + [(*one, _GOES_ON_MS) for one in self._current(row)]

    def _add_segments(
        self, order: int, at_ms: int, micros: int, flags_by_segment: Mapping[int, int]
    ) -> None:
        """Count an order for more segments."""
        previous = self.orders.flags_of(order)
        added = {
            sid: flags for sid, flags in flags_by_segment.items() if flags & ~previous.get(sid, 0)
        }
        for segment, flags in added.items():
            self._count(segment, flags & ~previous.get(segment, 0), micros, at_ms, 1)
        self.orders.set_flags(
            order, {sid: flags | previous.get(sid, 0) for sid, flags in added.items()}
        )

    def _count(self, segment: int, flags: int, micros: int, at_ms: int, by: int) -> None:
        if flags & BEFORE:
            self.counts.add(ORDERS, segment, at_ms, by)
            self.counts.add(REVENUE_MICROS, segment, at_ms, by * micros)
        if flags & AFTER:
            self.counts.add(ORDERS_AFTER, segment, at_ms, by)
            self.counts.add(REVENUE_AFTER_MICROS, segment, at_ms, by * micros)


def _flags_at(memberships: Iterable[tuple[int, int, int]], at_ms: int) -> dict[int, int]:
    """Return the flags of the segments at a time: before it, after it, or both.

    >>> _flags_at([(1, 5, 9), (2, 7, 9), (3, 4, 7), (4, 8, 9)], 7)
    {1: 3, 2: 2, 3: 1}
    """
    flags_by_segment: dict[int, int] = {}
    for segment, since_ms, left_ms in memberships:
        if since_ms <= at_ms <= left_ms:
            flags = BEFORE * (since_ms < at_ms) | AFTER * (at_ms < left_ms)
            if flags:
                flags_by_segment[segment] = flags_by_segment.get(segment, 0) | flags
    return flags_by_segment
