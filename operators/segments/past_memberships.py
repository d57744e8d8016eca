"""Memberships that ended within the last day: shopper, segment, time of entry and of exit.

The membership index knows the current memberships. The past ones are needed to attribute orders to
segments, and to count entries, exits and shoppers of the day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from operators.tables.column_pool import Column, LinkedPool
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from numpy.typing import NDArray

    from operators.segments.segment_registry import SegmentIndexes
    from state.arrays import Times

    Counted = NDArray[np.int64]

UNKNOWN_OWNER = -2
"""The owner of a membership whose shopper was evicted: it still counts as an entry and an exit."""
COMPACT_MIN = 1024
PAST_MAX = 64
"""From so many past memberships on, a shopper keeps these and at most one a segment."""


class PastMemberships(LinkedPool):
    """The past memberships of a shopper are a linked list. 23 bytes each, and 4 a shopper.

    owner int32[n] (NO_ROW for a free slot), segment int16[n], since_ms and left_ms int64[n], and
    `is_superseded` bool[n]: a later membership in the same segment, past or current, counts instead.
    """

    PREFIX = "stay"
    COLUMNS: ClassVar[Mapping[str, Column]] = {
        "owner": Column("owner", np.int32, NO_ROW),
        "segment": Column("segment", np.int16, NO_ROW),
        "since_ms": Column("since_ms", np.int64, 0),
        "left_ms": Column("left_ms", np.int64, 0),
        "is_superseded": Column("is_past", np.bool_, False),
    }
    segment: SegmentIndexes
    since_ms: Times
    left_ms: Times
    is_superseded: NDArray[np.bool_]

    def record_exit(self, row: int, segment: int, since_ms: int, left_ms: int) -> None:
        """Record an ended membership. For a shopper with `PAST_MAX` it replaces the oldest of that
        segment."""
        _, segments, since, left, superseded, _, _ = self._cells
        slots = self._slots_of(row)
        oldest = latest = NO_ROW
        for slot in slots:
            if segments[slot] == segment:
                if oldest == NO_ROW or left[slot] < left[oldest]:
                    oldest = slot
                if since[slot] < left[slot] and (latest == NO_ROW or left[slot] > left[latest]):
                    latest = slot
                superseded[slot] = True
                self._dirty_rows.mark(slot)
        new = oldest
        if oldest == NO_ROW or len(slots) < PAST_MAX:
            new = self._allocate_for(row)
        owner, segments, since, left, superseded, _, _ = self._cells
        owner[new], segments[new] = row, segment
        since[new], left[new] = since_ms, left_ms
        superseded[new] = is_empty = since_ms >= left_ms
        if is_empty and latest not in (NO_ROW, new):
            superseded[latest] = False
        self._dirty_rows.mark(new)

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
        _, segments, since, left, *_ = self._cells
        return [(segments[slot], since[slot], left[slot]) for slot in self._slots_of(row)]

    def move(self, row: int, into: int, current: Container[int]) -> None:
        """Move the past memberships of a row to another, whose shopper is in the segments `current`."""
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
        """Unlink a shopper: its past memberships lose their owner, or are deleted if it was erased."""
        owner, *_, head = self._cells
        for slot in self._slots_of(row):
            owner[slot] = NO_ROW if erased else UNKNOWN_OWNER
            if erased:
                self._free.append(slot)
            self._dirty_rows.mark(slot)
        head[row] = NO_ROW

    def release_segment(self, segment: int, before_ms: int) -> bool:
        """Delete the past memberships of a segment if all ended before a time; False if not."""
        in_segment = (self.segment[: self.length] == segment) & self._is_used()
        slots = np.flatnonzero(in_segment)
        if (self.left_ms[slots] >= before_ms).any():
            return False
        if len(slots):
            self._free_all(slots)
        return True

    def compact(self, before_ms: int) -> None:
        """Delete what ended before a time, if enough did to be worth the cost."""
        slots = np.flatnonzero(self._is_used() & (self.left_ms[: self.length] < before_ms))
        if len(slots) > max(COMPACT_MIN, self.length // 4):
            self._free_all(slots)

    def entered_since(self, after_ms: int, segments: int) -> Counted:
        """Count the past memberships that began after a time, by segment."""
        return self._count_by_segment(self.since_ms[: self.length] > after_ms, segments)

    def left_since(self, after_ms: int, segments: int) -> Counted:
        """Count those that ended after a time, by segment."""
        return self._count_by_segment(self.left_ms[: self.length] > after_ms, segments)

    def departed(self, last_ms: Times, after_ms: int, segments: int) -> Counted:
        """Count shoppers active after a time who left each segment after it and are not in it again."""
        used = slice(self.length)
        owner = self.owner[used]
        is_departed = (owner >= 0) & ~self.is_superseded[used] & (self.left_ms[used] > after_ms)
        is_departed[is_departed] = last_ms[owner[is_departed]] > after_ms
        return self._count_by_segment(is_departed, segments)

    def _count_by_segment(self, chosen: NDArray[np.bool_], segments: int) -> Counted:
        chosen &= self._is_used()
        return np.bincount(self.segment[: self.length][chosen], minlength=segments)

    def _is_used(self) -> NDArray[np.bool_]:
        is_used: NDArray[np.bool_] = self.owner[: self.length] != NO_ROW
        return is_used
