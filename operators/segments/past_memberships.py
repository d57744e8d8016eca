"""Memberships that ended within the last day: shopper, segment, time of entry and of exit.

The membership index knows the current memberships. The past ones are needed to attribute orders to
segments, and to count entries, exits and shoppers of the day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segments.membership_columns import build_chains
from operators.tables.array_ops import grow
from operators.tables.table import Table
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from numpy.typing import NDArray

    from operators.segments.membership_columns import SegmentIndexes
    from operators.tables.table import Arrays
    from state.arrays import Rows, Times

    Counted = NDArray[np.int64]

UNKNOWN_OWNER = -2
"""The owner of a membership whose shopper was evicted: it still counts as an entry and an exit."""
COMPACT_MIN = 1024
PAST_MAX = 64
"""From so many past memberships on, a shopper keeps these and at most one a segment."""


class PastMemberships:
    """A pool; stays of one shopper are a chain in it. 23 bytes a stay and 4 a shopper.

    owner int32[n] (NO_ROW where free), segment int16[n], since_ms and left_ms int64[n], and
    `is_superseded`
    bool[n]: a later stay in the same segment counts instead, or one that goes on.
    """

    def __init__(self) -> None:
        self.owner: Rows = np.empty(0, np.int32)
        self.segment: SegmentIndexes = np.empty(0, np.int16)
        self.since_ms: Times = np.empty(0, np.int64)
        self.left_ms: Times = np.empty(0, np.int64)
        self.is_superseded: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.length = 0
        self._next: Rows = np.empty(0, np.int32)
        self._head: Rows = np.empty(0, np.int32)
        self._free: list[int] = []
        self._dirty_rows = DirtyRows()
        self._refresh_cells()

    def ensure_rows(self, rows: int) -> None:
        """Grow to at least this many shoppers."""
        if rows > len(self._head):
            self._head = grow(self._head, rows, NO_ROW)
            self._refresh_cells()

    def record_exit(self, row: int, segment: int, since_ms: int, left_ms: int) -> None:
        """Record an ended membership. For a shopper with `PAST_MAX` it replaces the oldest of that
        segment."""
        _, segments, since_cells, left_cells, superseded, next_slot, head = self._cells
        slot, free, latest, count = head[row], NO_ROW, NO_ROW, 0
        while slot != NO_ROW:
            count += 1
            if segments[slot] == segment:
                if free == NO_ROW or left_cells[slot] < left_cells[free]:
                    free = slot
                if since_cells[slot] < left_cells[slot] and (
                    latest == NO_ROW or left_cells[slot] > left_cells[latest]
                ):
                    latest = slot
                superseded[slot] = True
                self._dirty_rows.mark(slot)
            slot = next_slot[slot]
        if free == NO_ROW or count < PAST_MAX:
            free = self._allocate(row)
        owner, segments, since_cells, left_cells, superseded, next_slot, head = self._cells
        owner[free], segments[free] = row, segment
        since_cells[free], left_cells[free] = since_ms, left_ms
        superseded[free] = is_empty = since_ms >= left_ms
        if is_empty and latest not in (NO_ROW, free):
            superseded[latest] = False
        self._dirty_rows.mark(free)

    def supersede(self, row: int, segment: int) -> None:
        """Mark the ended memberships in a segment as superseded: a new one begins."""
        _, segments, _, _, superseded, next_slot, head = self._cells
        slot = head[row]
        while slot != NO_ROW:
            if segments[slot] == segment and not superseded[slot]:
                superseded[slot] = True
                self._dirty_rows.mark(slot)
            slot = next_slot[slot]

    def of_row(self, row: int) -> list[tuple[int, int, int]]:
        """Return segment, time of entry and time of exit (ms) of a shopper's past memberships."""
        _, segments, since, left, _, next_slot, head = self._cells
        memberships: list[tuple[int, int, int]] = []
        slot = head[row]
        while slot != NO_ROW:
            memberships.append((segments[slot], since[slot], left[slot]))
            slot = next_slot[slot]
        return memberships

    def merge(self, row: int, into: int, current: Container[int]) -> None:
        """Move the past memberships of a row to another, whose shopper is in the segments
        `current`."""
        slots = self._slots_of(row)
        if not slots:
            return
        owner, segments, _, left, superseded, next_slot, head = self._cells
        latest = {segments[slot]: slot for slot in self._slots_of(into) if not superseded[slot]}
        for slot in slots:
            owner[slot] = into
            if not superseded[slot]:
                other = latest.get(segments[slot])
                if segments[slot] in current:
                    superseded[slot] = True
                elif other is not None:
                    superseded[slot if left[slot] <= left[other] else other] = True
                    self._dirty_rows.mark(other)
            self._dirty_rows.mark(slot)
        next_slot[slots[-1]], head[into], head[row] = head[into], slots[0], NO_ROW

    def remove_shopper(self, row: int, *, erased: bool = False) -> None:
        """Unlink a shopper: its past memberships lose their owner, or are deleted if it was
        erased."""
        owner, *_, head = self._cells
        for slot in self._slots_of(row):
            owner[slot] = NO_ROW if erased else UNKNOWN_OWNER
            if erased:
                self._free.append(slot)
            self._dirty_rows.mark(slot)
        head[row] = NO_ROW

    def release_segment(self, segment: int, before_ms: int) -> bool:
        """Delete the past memberships of a segment if all ended before a time; False if not."""
        in_segment = (self.segment[: self.length] == segment) & (
            self.owner[: self.length] != NO_ROW
        )
        slots = np.flatnonzero(in_segment)
        if (self.left_ms[slots] >= before_ms).any():
            return False
        if len(slots):
            self.owner[slots] = NO_ROW
            self._dirty_rows.mark(slots)
            self._rebuild_chains(len(self._head))
        return True

    def compact(self, before_ms: int) -> None:
        """Delete what ended before a time, if enough did to be worth the cost."""
        expired = (self.owner[: self.length] != NO_ROW) & (self.left_ms[: self.length] < before_ms)
        slots = np.flatnonzero(expired)
        if len(slots) > max(COMPACT_MIN, self.length // 4):
            self.owner[slots] = NO_ROW
            self._dirty_rows.mark(slots)
            self._rebuild_chains(len(self._head))

    def entered_since(self, after_ms: int, segments: int) -> Counted:
        """Count the past memberships that began after a time, by segment."""
        return self._count_by_segment(self.since_ms[: self.length] > after_ms, segments)

    def left_since(self, after_ms: int, segments: int) -> Counted:
        """Count those that ended after a time, by segment."""
        return self._count_by_segment(self.left_ms[: self.length] > after_ms, segments)

    def departed(self, last_ms: Times, after_ms: int, segments: int) -> Counted:
        """Count shoppers active after a time who left each segment after it and are not in it
        again."""
        used = slice(self.length)
        owner = self.owner[used]
        is_departed = (owner >= 0) & ~self.is_superseded[used] & (self.left_ms[used] > after_ms)
        is_departed[is_departed] = last_ms[owner[is_departed]] > after_ms
        return self._count_by_segment(is_departed, segments)

    def table(self) -> Table:
        """The pool."""
        used = slice(self.length)
        columns: Arrays = {
            "stay.owner": self.owner[used],
            "stay.segment": self.segment[used],
            "stay.since_ms": self.since_ms[used],
            "stay.left_ms": self.left_ms[used],
            "stay.is_past": self.is_superseded[used],
        }
        return Table(columns, self._dirty_rows)

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], rows: int) -> None:
        """Restore what `table` returned; an older release stored none."""
        none = np.empty(0)
        self.owner = arrays.get("stay.owner", none).astype(np.int32)
        self.segment = arrays.get("stay.segment", none).astype(np.int16)
        self.since_ms = arrays.get("stay.since_ms", none).astype(np.int64)
        self.left_ms = arrays.get("stay.left_ms", none).astype(np.int64)
        self.is_superseded = arrays.get("stay.is_past", none).astype(np.bool_)
        self.length = len(self.owner)
        self._dirty_rows = DirtyRows(self.length)
        self._rebuild_chains(rows)

    def _allocate(self, row: int) -> int:
        """Return a free slot, at the head of a shopper's list."""
        if self._free:
            slot = self._free.pop()
        else:
            slot, self.length = self.length, self.length + 1
            if slot == len(self.owner):
                self.owner = grow(self.owner, self.length, NO_ROW)
                self.segment = grow(self.segment, self.length, NO_ROW)
                self.since_ms = grow(self.since_ms, self.length, 0)
                self.left_ms = grow(self.left_ms, self.length, 0)
                self.is_superseded = grow(self.is_superseded, self.length, False)
                self._next = grow(self._next, self.length, NO_ROW)
                self._refresh_cells()
            self._dirty_rows.ensure_rows(self.length)
        *_, next_slot, head = self._cells
        next_slot[slot], head[row] = head[row], slot
        return slot

    def _slots_of(self, row: int) -> list[int]:
        *_, next_slot, head = self._cells
        slots: list[int] = []
        slot = head[row]
        while slot != NO_ROW:
            slots.append(slot)
            slot = next_slot[slot]
        return slots

    def _count_by_segment(self, chosen: NDArray[np.bool_], segments: int) -> Counted:
        chosen &= self.owner[: self.length] != NO_ROW
        return np.bincount(self.segment[: self.length][chosen], minlength=segments)

    def _rebuild_chains(self, rows: int) -> None:
        """Build the linked lists and the free slots from the owners."""
        owner = self.owner[: self.length]
        self._free = np.flatnonzero(owner == NO_ROW)[::-1].tolist()
        self._head, self._next = build_chains(owner, rows, len(self.owner))
        self._refresh_cells()

    def _refresh_cells(self) -> None:
        columns = self.owner, self.segment, self.since_ms, self.left_ms, self.is_superseded
        self._cells = tuple(one.data for one in (*columns, self._next, self._head))
