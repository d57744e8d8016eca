"""What happened in each segment, exactly by event time: who came and went, and what was ordered.

An order counts for the segments its shopper was in just before it, and, apart, just after: what holds
of changes of that very millisecond holds after, not before. It counts with every change that is known
when its batch has been learned; with one that comes to be known later, and is as old, it is put right.
So neither batches nor workers show, and a recount from events and change streams gives the same.
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
    Counts,
)
from operators.segments.past_memberships import Stays
from operators.segments.recent_orders import AFTER, BEFORE, Sold
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from operators.tables.table import Table

    Standing = Callable[[int], Iterable[tuple[int, int]]]
    """The segments that a shopper is in now, each with since when (ms)."""


_GOES_ON_MS = 1 << 62


class Worth:
    """Counts by minute and hour, stays that ended lately and orders of the last day, by place and row.

    `standing` says where a shopper is now.
    """

    def __init__(self, standing: Standing) -> None:
        self.counts = Counts()
        self.stays = Stays()
        self.sold = Sold()
        self._standing = standing
        self._unsettled: set[tuple[int, int, int]] = set()

    def reach(self, rows: int) -> None:
        """Make room for so many shoppers."""
        self.stays.reach(rows)

    def entered(self, row: int, segment: int, at_ms: int, ordered_ms: int) -> None:
        """A shopper, who ordered last at a time (0 for never), came into a segment."""
        self.counts.bump(ENTERED, segment, at_ms)
        self.stays.begin(row, segment)
        if at_ms <= ordered_ms:
            self._unsettled.add((row, segment, at_ms))

    def left(self, row: int, segment: int, since_ms: int, at_ms: int, ordered_ms: int) -> None:
        """One went, who had come at a time."""
        self.counts.bump(LEFT, segment, at_ms)
        self.stays.end(row, segment, since_ms, at_ms)
        if at_ms <= ordered_ms:
            self._unsettled.add((row, segment, at_ms))

    def order(self, row: int, micros: int, at_ms: int) -> None:
        """A shopper ordered; the changes of the batch come first."""
        when = _at(self._all(row), at_ms)
        self.sold.add(row, at_ms, micros, when)
        for segment, flags in when.items():
            self._count(segment, flags, micros, at_ms, 1)

    def take_back(self, row: int, micros: int, at_ms: int) -> None:
        """An order had been counted twice."""
        if row == NOBODY:
            return
        for order, ordered_ms, worth in self.sold.orders_of(row, at_ms)[::-1]:
            if (ordered_ms, worth) == (at_ms, micros):
                for segment, flags in self.sold.when(order).items():
                    self._count(segment, flags, micros, at_ms, -1)
                self.sold.take_back(order)
                return

    def settle(self) -> None:
        """Put right what was counted before a change was known that is as old."""
        for row, segment, since_ms in sorted(self._unsettled):
            for order, at_ms, micros in self.sold.orders_of(row, since_ms):
                before = self.sold.when(order).get(segment, 0)
                flags = _at(self._all(row), at_ms).get(segment, 0)
                if flags != before:
                    self.sold.settle(order, {segment: flags})
                    self._count(segment, flags & ~before, micros, at_ms, 1)
                    self._count(segment, before & ~flags, micros, at_ms, -1)
        self._unsettled.clear()

    def move(self, row: int, heir: int, *, ordered: bool, heir_ordered: bool) -> None:
        """A shopper, who has left all segments, turned out to be another: one person stood in all that
        either did, and what either ordered counts for it."""
        theirs = self.stays.of(row)
        if ordered:
            own = self._all(heir)
            for order, at_ms, micros in self.sold.orders_of(row, 0):
                self._add(order, at_ms, micros, _at(own, at_ms))
        if heir_ordered and theirs:
            since_ms, left_ms = min(one[1] for one in theirs), max(one[2] for one in theirs)
            for order, at_ms, micros in self.sold.orders_of(heir, since_ms):
                if at_ms <= left_ms:
                    self._add(order, at_ms, micros, _at(theirs, at_ms))
        self.stays.move(row, heir, {segment for segment, _ in self._standing(heir)})
        if ordered:
            self.sold.move(row, heir)
        moved = {one for one in self._unsettled if one[0] == row}
        self._unsettled -= moved
        self._unsettled |= {(heir, segment, since_ms) for _, segment, since_ms in moved}

    def erase(self, row: int, *, ordered: bool) -> None:
        """A shopper never was."""
        self.stays.forget(row, erased=True)
        if ordered:
            self.sold.erase(row)

    def forget(self, row: int, *, ordered: bool) -> None:
        """A shopper is in memory no more: what happened, happened to nobody by name."""
        self.stays.forget(row)
        if ordered:
            self.sold.move(row, NOBODY)

    def is_quiet(self, segment: int, before_ms: int) -> bool:
        """Whether nothing of a segment is counted any longer; stays that ended before a time go."""
        if not self.counts.is_quiet(segment) or self.sold.is_for(segment):
            return False
        return self.stays.let_go(segment, before_ms)

    def sweep(self, before_ms: int) -> None:
        """Let go of what is older than a time."""
        self.stays.sweep(before_ms)
        self.sold.sweep(before_ms)

    def tables(self) -> Sequence[Table]:
        """Stays and orders."""
        return [self.stays.table(), self.sold.table()]

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], rows: int) -> None:
        """Take over what `tables` and the counts gave."""
        self.counts.restore(arrays)
        self.stays.restore(arrays, rows)
        self.sold.restore(arrays)

    def _all(self, row: int) -> list[tuple[int, int, int]]:
        """All stays of a shopper, also those that go on."""
        return self.stays.of(row) + [(*one, _GOES_ON_MS) for one in self._standing(row)]

    def _add(self, order: int, at_ms: int, micros: int, when: Mapping[int, int]) -> None:
        """An order counts for these segments too."""
        before = self.sold.when(order)
        more = {sid: flags for sid, flags in when.items() if flags & ~before.get(sid, 0)}
        for segment, flags in more.items():
            self._count(segment, flags & ~before.get(segment, 0), micros, at_ms, 1)
        self.sold.settle(order, {sid: flags | before.get(sid, 0) for sid, flags in more.items()})

    def _count(self, segment: int, flags: int, micros: int, at_ms: int, by: int) -> None:
        if flags & BEFORE:
            self.counts.bump(ORDERS, segment, at_ms, by)
            self.counts.bump(REVENUE_MICROS, segment, at_ms, by * micros)
        if flags & AFTER:
            self.counts.bump(ORDERS_AFTER, segment, at_ms, by)
            self.counts.bump(REVENUE_AFTER_MICROS, segment, at_ms, by * micros)


def _at(stays: Iterable[tuple[int, int, int]], at_ms: int) -> dict[int, int]:
    """The segments of stays that hold just before a time, just after, or both.

    >>> _at([(1, 5, 9), (2, 7, 9), (3, 4, 7), (4, 8, 9)], 7)
    {1: 3, 2: 2, 3: 1}
    """
    when: dict[int, int] = {}
    for segment, since_ms, left_ms in stays:
        if since_ms <= at_ms <= left_ms:
            flags = BEFORE * (since_ms < at_ms) | AFTER * (at_ms < left_ms)
            if flags:
                when[segment] = when.get(segment, 0) | flags
    return when
