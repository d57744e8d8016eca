"""Changes memberships: every kind of segment applies its decisions here, in the same way.

Memberships are the state of the flow; Redis holds a copy (`operators.publish.memberships`). Each change
is returned as a `Change`, to be published, and counted in the segment's size and activity.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segments.membership_store import MembershipStore
from state.arrays import NO_ROW
from state.changes import Change
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from operators.segments.segment_registry import SegmentIndexes
    from state.arrays import Rows, Times
    from state.entries import Transition
    from state.interactions import RowIndex


class MembershipIndex(MembershipStore):
    """The memberships of all shoppers, with the ways to change them."""

    def mark_active(self, rows: Rows, known: Sequence[bool], at_ms: Times) -> Rows:
        """Record activity. Returns the rows that are in a segment and were first active that
        day."""
        self.ensure_rows(int(rows.max(initial=-1)) + 1)
        first_that_day = rows[at_ms // DAY_MS > self.last_ms[rows] // DAY_MS]
        self._set_known(rows, np.asarray(known, np.bool_))
        self.last_ms[rows] = np.maximum(self.last_ms[rows], at_ms)
        self._dirty_rows.mark(rows)
        return first_that_day[self.are_in_any(first_that_day)]

    def set_refused(self, rows: Rows, refused: Sequence[int]) -> None:
        """Set the purposes that active shoppers refuse, as bits. The new set replaces the old
        one."""
        if self._any_refused or any(refused):
            self._any_refused = True
            self.refused[rows] = refused

    def assign(
        self, kind: str, shoppers: Sequence[str], rows: Rows, segment: SegmentIndexes, at_ms: Times
    ) -> list[Change]:
        """Assign each shopper to one segment of an exclusive kind, by its index. NO_ROW: to
        none."""
        self.ensure_rows(int(rows.max(initial=-1)) + 1)
        column = self.exclusive[kind]
        previous, since_ms = column.segment[rows], column.since_ms[rows]
        changes: list[Change] = []
        changed = np.flatnonzero(previous != segment)
        for i in changed.tolist():
            name, now_ms, old, new = shoppers[i], int(at_ms[i]), int(previous[i]), int(segment[i])
            if old != NO_ROW:
                changes.append(self._record_exit(name, int(rows[i]), old, now_ms, int(since_ms[i])))
            if new != NO_ROW:
                changes.append(self._record_entry(name, int(rows[i]), new, now_ms))
        column.segment[rows[changed]] = segment[changed]
        column.since_ms[rows[changed]] = at_ms[changed]
        self._dirty_rows.mark(rows[changed])
        return changes

    def apply_transitions(
        self, transitions: Iterable[Transition], shoppers: RowIndex
    ) -> list[Change]:
        """Apply entries into and exits from overlapping segments; a repeated one changes
        nothing."""
        changes: list[Change] = []
        overlapping, registry, find = self.overlapping, self.registry, shoppers.row_by_id.get
        for transition in transitions:
            name, sid, at_ms = transition.shopper, transition.segment, transition.at_ms
            row, segment = find(name, NO_ROW), registry.find(sid)
            if not transition.entered:
                if 0 <= row < self.rows and segment != NO_ROW:
                    since_ms = overlapping.remove(row, segment)
                    if since_ms is not None:
                        changes.append(self._record_exit(name, row, segment, at_ms, since_ms))
                continue
            if segment == NO_ROW:
                segment = registry.index_of(sid)
            if row == NO_ROW:
                row = shoppers.get_or_add(name)
            if row >= self.rows:
                self.ensure_rows(row + 1)
            if overlapping.add(row, segment, at_ms):
                changes.append(self._record_entry(name, row, segment, at_ms))
        return changes

    def remove_from_all(self, row: int, shopper: str, at_ms: int) -> list[Change]:
        """Remove a shopper from all its segments. `row` is NO_ROW for a shopper without a row."""
        if not 0 <= row < self.rows:
            return []
        changes: list[Change] = []
        for column in self.exclusive.values():
            segment = int(column.segment[row])
            if segment != NO_ROW:
                column.segment[row] = NO_ROW
                since_ms = int(column.since_ms[row])
                changes.append(self._record_exit(shopper, row, segment, at_ms, since_ms))
        for segment, since_ms in self.overlapping.of_row(row):
            self.overlapping.remove(row, segment)
            changes.append(self._record_exit(shopper, row, segment, at_ms, since_ms))
        self._dirty_rows.mark(row)
        return changes

    def remove_shoppers(self, rows: Rows) -> None:
        """Clear the rows of these shoppers, who were removed from all segments before."""
        rows = rows[rows < self.rows]
        for row, ordered_ms in zip(rows.tolist(), self.order_ms[rows].tolist(), strict=True):
            self.activity.anonymize(row, ordered=ordered_ms > 0)
        self.known[rows], self.last_ms[rows], self.order_ms[rows] = False, 0, 0
        self.refused[rows] = 0
        self._dirty_rows.mark(rows)

    def count_order(self, row: int, micros: int, at_ms: int) -> None:
        """Count a purchase for the segments that its shopper was in just before and just after
        it."""
        self.ensure_rows(row + 1)
        self._dirty_rows.mark(row)
        self.order_ms[row] = max(self.order_ms[row], at_ms)
        self.activity.add_order(row, micros, at_ms)

    def merge(self, row: int, into: int) -> None:
        """Move what a removed shopper did to another row, or delete it (`into` is NO_ROW:
        erased)."""
        ordered_ms = int(self.order_ms[row])
        if into == NO_ROW:
            self.activity.erase(row, ordered=ordered_ms > 0)
            return
        self.ensure_rows(into + 1)
        into_ordered = bool(self.order_ms[into])
        self.activity.merge(row, into, ordered=ordered_ms > 0, into_ordered=into_ordered)
        self.order_ms[into] = max(self.order_ms[into], ordered_ms)
        self._dirty_rows.mark(into)

    def _set_known(self, rows: Rows, known: NDArray[np.bool_]) -> None:
        """Set whether each of these shoppers (each once) is a user."""
        for i in np.flatnonzero(self.known[rows] != known).tolist():
            for segment, _ in self._current(int(rows[i])):
                self.sizes.identified[segment] += 1 if known[i] else -1
        self.known[rows] = known

    def _record_entry(self, shopper: str, row: int, segment: int, at_ms: int) -> Change:
        self.activity.record_entry(row, segment, at_ms, self.order_ms.item(row))
        known = self.known.item(row)
        self.sizes.change(segment, 1, known=known)
        refused = self.refused.item(row)
        return Change("enter", shopper, self.registry.ids[segment], at_ms, known, refused=refused)

    def _record_exit(
        self, shopper: str, row: int, segment: int, at_ms: int, since_ms: int
    ) -> Change:
        self.activity.record_exit(row, segment, since_ms, at_ms, self.order_ms.item(row))
        known = self.known.item(row)
        self.sizes.change(segment, -1, known=known)
        refused = self.refused.item(row)
        return Change("leave", shopper, self.registry.ids[segment], at_ms, known, refused=refused)
