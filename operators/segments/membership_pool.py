"""Current memberships of overlapping kinds (rules, propensity): a shopper is in few of many segments."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from operators.tables.column_pool import Column, LinkedPool
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from operators.segments.segment_registry import SegmentIndexes
    from state.arrays import Rows, Times


class MembershipPool(LinkedPool):
    """The memberships of a shopper are a linked list.

    owner int32[n] (NO_ROW for a free slot), segment int16[n], since_ms int64[n]: 18 bytes a membership
    and 4 a shopper.
    """

    PREFIX = "flag"
    COLUMNS: ClassVar[Mapping[str, Column]] = {
        "owner": Column("owner", np.int32, NO_ROW),
        "segment": Column("segment", np.int16, NO_ROW),
        "since_ms": Column("since_ms", np.int64, 0),
    }
    segment: SegmentIndexes
    since_ms: Times

    def of_row(self, row: int) -> list[tuple[int, int]]:
        """Return segment and time of entry (ms) of a shopper's memberships, by segment."""
        _, segment, since_ms, next_slot, head = self._cells
        memberships: list[tuple[int, int]] = []
        slot = head[row]
        while slot != NO_ROW:
            memberships.append((segment[slot], since_ms[slot]))
            slot = next_slot[slot]
        memberships.sort()
        return memberships

    def are_in_any(self, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row has any membership."""
        in_any: NDArray[np.bool_] = self._head[rows] != NO_ROW
        return in_any

    def add(self, row: int, segment: int, at_ms: int) -> bool:
        """Add a membership; False if it is there."""
        _, segments, _, next_slot, head = self._cells
        slot = head[row]
        while slot != NO_ROW:
            if segments[slot] == segment:
                return False
            slot = next_slot[slot]
        slot = self._allocate_for(row)
        owner, segments, since_ms, _, _ = self._cells
        owner[slot], segments[slot], since_ms[slot] = row, segment, at_ms
        self._dirty_rows.mark(slot)
        return True

    def remove(self, row: int, segment: int) -> int | None:
        """Remove a membership. Returns its time of entry (ms), None if there is none."""
        owner, segments, since_ms, next_slot, head = self._cells
        previous, slot = NO_ROW, head[row]
        while slot != NO_ROW:
            if segments[slot] == segment:
                if previous == NO_ROW:
                    head[row] = next_slot[slot]
                else:
                    next_slot[previous] = next_slot[slot]
                owner[slot] = NO_ROW
                self._free.append(slot)
                self._dirty_rows.mark(slot)
                return int(since_ms[slot])
            previous, slot = slot, next_slot[slot]
        return None

    def rows_of(self, segment: int) -> Rows:
        """Return the shoppers of a segment, sorted: the order of slots means nothing."""
        slots = np.flatnonzero(self.segment[: self.length] == segment)
        owner = self.owner[slots]
        members: Rows = np.sort(owner[owner != NO_ROW])
        return members

    def entered_since(self, after_ms: int, segments: int) -> NDArray[np.int64]:
        """Count the memberships that began after a time, by segment."""
        used = slice(self.length)
        is_recent = (self.since_ms[used] > after_ms) & (self.owner[used] != NO_ROW)
        return np.bincount(self.segment[used][is_recent], minlength=segments)

    def walk_lists(
        self, slots: NDArray[np.intp]
    ) -> Iterator[tuple[NDArray[np.intp], SegmentIndexes]]:
        """Yield the memberships that follow each of `slots` in its owner's list.

        One step of the lists at a time: which of `slots` have a next membership, and its segment.
        """
        origin, slot = np.arange(len(slots)), self._next[slots]
        while True:
            goes_on = slot != NO_ROW
            origin, slot = origin[goes_on], slot[goes_on]
            if not len(origin):
                return
            yield origin, self.segment[slot]
            slot = self._next[slot]
