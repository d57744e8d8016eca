"""Which shopper is in which segment, since when, and when each shopper was last active.

Memberships are the state of the flow; Redis holds a copy (`operators.publish.memberships`). All
kinds of segment apply their decisions here, in the same way. Times are event time. The names of the
arrays are stored: do not change them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segments.membership_columns import (
    ExclusiveColumn,
    MembershipPool,
    SegmentRegistry,
    SegmentSizes,
)
from operators.segments.value import SegmentActivity
from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.changes import Change
from state.dirty_rows import DirtyRows
from state.segments import cluster_segment_id
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.membership_columns import SegmentIndexes
    from operators.tables.table import Arrays
    from state.arrays import Rows, Times
    from state.interactions import RowIndex
    from state.messages import Transition

EXCLUSIVE_KINDS = {
    "cluster": ("cluster", "entered_ms"),
    "rfm": ("rfm", "rfm_ms"),
    "lifecycle": ("lifecycle", "lifecycle_ms"),
}
"""The kinds whose segments exclude each other, with the stored names of their columns."""


class MembershipIndex(TableState):
    """The memberships of all shoppers, by the shopper's row in the recommender's row index.

    known bool[rows], refused uint8[rows] (purposes, as bits), last_ms int64[rows], order_ms
    int64[rows], and the columns of `membership_columns`: 48 bytes a shopper, and 18 bytes a
    membership of an overlapping kind. `is_from_older_release`: the restored state comes from a
    release that did not store all kinds.
    """

    def __init__(self, segments: Iterable[str] = ()) -> None:
        self.rows = 0
        self.known: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.refused: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.last_ms: Times = np.empty(0, np.int64)
        self.order_ms: Times = np.empty(0, np.int64)
        self.registry = SegmentRegistry(segments)
        self.exclusive = {
            kind: ExclusiveColumn(columns) for kind, columns in EXCLUSIVE_KINDS.items()
        }
        self.overlapping = MembershipPool()
        self.sizes = SegmentSizes()
        self.activity = SegmentActivity(self._current)
        self._dirty_rows = DirtyRows()
        self.is_from_older_release = self._any_refused = False

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

    def refused_by(self, row: int) -> int:
        """Return the purposes that the shopper of a row refuses, as bits; 0 for NO_ROW."""
        return int(self.refused[row]) if 0 <= row < self.rows else 0

    def last_ms_of(self, row: int) -> int:
        """Return the last activity of a row (ms), 0 for none, -1 where there is no such row."""
        return int(self.last_ms[row]) if 0 <= row < self.rows else -1

    def last_seen_ms(self, rows: Rows) -> Times:
        """Return the time of each row's last activity (ms), 0 for none."""
        self.ensure_rows(int(rows.max(initial=-1)) + 1)
        last_ms: Times = self.last_ms[rows]
        return last_ms

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

    def compensate(
        self, orphaned: Iterable[Change], row_of: Callable[[str], int]
    ) -> tuple[list[Change], list[Change]]:
        """Compare the membership changes that a crashed run published with the memberships
        restored.

        `orphaned` has the last published change of each membership; `row_of` gives a shopper's row,
        or NO_ROW. Returns the changes to publish, which undo what does not hold, and the
        memberships to write again as they are. These are needed because a run writes the change
        streams first: its other writes may be cut off anywhere, also between a shopper's hash and
        the members of the segment.
        """
        changes: list[Change] = []
        rewrites: list[Change] = []
        for change in orphaned:
            since_ms = dict(self.memberships_of(row_of(change.shopper))).get(change.segment)
            if since_ms is None:
                if change.kind == "enter":
                    changes.append(change._replace(kind="leave"))
                else:
                    rewrites.append(change)
            elif change.kind == "leave":
                changes.append(change._replace(kind="enter", at_ms=since_ms))
            else:
                rewrites.append(change._replace(at_ms=since_ms))
        return changes, rewrites

    def count_order(self, row: int, micros: int, at_ms: int) -> None:
        """Count a purchase for the segments that its shopper was in just before and just after
        it."""
        self.ensure_rows(row + 1)
        self._dirty_rows.mark(row)
        self.order_ms[row] = max(self.order_ms[row], at_ms)
        self.activity.add_order(row, micros, at_ms)

    def merge_or_erase(self, row: int, into: int) -> None:
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

    def entered_since(self, after_ms: int) -> NDArray[np.int64]:
        """Count the entries into each segment after a time, also of shoppers who left since."""
        segments = len(self.registry)
        entered = self.activity.past.entered_since(after_ms, segments)
        for column in self.exclusive.values():
            recent = column.segment[column.since_ms > after_ms]
            entered += np.bincount(recent[recent != NO_ROW], minlength=segments)
        length = self.overlapping.length
        is_recent = self.overlapping.since_ms[:length] > after_ms
        is_recent &= self.overlapping.owner[:length] != NO_ROW
        return entered + np.bincount(
            self.overlapping.segment[:length][is_recent], minlength=segments
        )

    def memberships_of(self, row: int) -> list[tuple[str, int]]:
        """Return the segments of a row, each with the time of entry (ms); none for NO_ROW.

        For a membership that an older release stored without a time, it is the shopper's last
        activity.
        """
        if not 0 <= row < self.rows:
            return []
        last_ms, ids = int(self.last_ms[row]), self.registry.ids
        return [(ids[segment], at_ms or last_ms) for segment, at_ms in self._current(row)]

    def are_in_any(self, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each row is in any segment."""
        in_any = self.overlapping.are_in_any(rows)
        for column in self.exclusive.values():
            in_any |= column.segment[rows] != NO_ROW
        return in_any

    def is_known(self, row: int) -> bool:
        """Return whether the shopper of a row is a user (not an anonymous device)."""
        return 0 <= row < self.rows and bool(self.known[row])

    def segment_of(self, kind: str, row: int) -> int:
        """Return the index of a row's segment of an exclusive kind, or NO_ROW."""
        return int(self.exclusive[kind].segment[row]) if 0 <= row < self.rows else NO_ROW

    def segments_of(self, kind: str, rows: Rows) -> list[str | None]:
        """Return the segment id of an exclusive kind for each row, None for none."""
        self.ensure_rows(int(rows.max(initial=-1)) + 1)
        names: list[str | None] = [*self.registry.ids, None]
        return [names[segment] for segment in self.exclusive[kind].segment[rows].tolist()]

    def size_of(self, sid: str) -> int:
        """Return the number of shoppers in a segment."""
        segment = self.registry.find(sid)
        return self.sizes.total[segment] if 0 <= segment < len(self.sizes.total) else 0

    def members(self, segment: int) -> Rows:
        """Return the rows of a segment's shoppers, by the segment's index."""
        for column in self.exclusive.values():
            rows = np.flatnonzero(column.segment[: self.rows] == segment)
            if len(rows):
                return rows.astype(np.int32)
        return self.overlapping.rows_of(segment)

    def tables(self) -> Sequence[Table]:
        """The columns by shopper, and the pools of overlapping and past memberships and of
        orders."""
        columns: dict[str, NDArray[np.generic]] = {
            "known": self.known[: self.rows],
            "refused": self.refused[: self.rows],
            "last_ms": self.last_ms[: self.rows],
            "order_ms": self.order_ms[: self.rows],
        }
        for column in self.exclusive.values():
            columns |= column.stored_columns(self.rows)
        return [Table(columns, self._dirty_rows), self.overlapping.table(), *self.activity.tables()]

    def scalars(self) -> Arrays:
        """The segment ids by index, and the counts by minute and hour."""
        ids = "\n".join(self.registry.ids).encode()
        return {"roster": np.frombuffer(ids, np.uint8), **self.activity.counts.scalars()}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore a state that `arrays` returned. Older releases stored clusters only."""
        self.known = arrays["known"].astype(np.bool_)
        self.last_ms = arrays["last_ms"].astype(np.int64)
        self.order_ms = arrays["order_ms"].astype(np.int64)
        self.rows = len(self.known)
        self.refused = np.zeros(self.rows, np.uint8)
        if "refused" in arrays:
            self.refused[:] = arrays["refused"]
            self._any_refused = bool(self.refused.any())
        configured, self.registry = self.registry.ids, SegmentRegistry(self._stored_ids(arrays))
        for sid in configured:
            self.registry.index_of(sid)
        complete = [one.restore(arrays, self.rows) for one in self.exclusive.values()]
        self.is_from_older_release = not all(complete)
        self.overlapping.restore(arrays, self.rows)
        self.activity.restore(arrays, self.rows)
        self._recount_sizes()
        self._dirty_rows = DirtyRows(self.rows)

    def _stored_ids(self, arrays: Mapping[str, NDArray[np.generic]]) -> list[str]:
        """Return the segment ids by index. Older releases stored none: the index was the cluster
        number."""
        if "roster" in arrays:
            return arrays["roster"].tobytes().decode().split("\n")
        column, _ = self.exclusive["cluster"].columns
        clusters = int(arrays[column].max(initial=NO_ROW)) + 1
        counted = [one.shape[-1] for name, one in arrays.items() if name.endswith(".counts")]
        return [cluster_segment_id(number) for number in range(max(clusters, *counted, 0))]

    def mark_stored(self) -> None:
        """Note that the state is stored. Mark all rows as changed where an older release stored
        less."""
        if self.is_from_older_release:
            self._dirty_rows.mark_all()

    def ensure_rows(self, rows: int) -> None:
        """Grow to at least this many rows."""
        if rows > self.rows:
            self.known = grow(self.known, rows, False)
            self.refused = grow(self.refused, rows, 0)
            self.last_ms = grow(self.last_ms, rows, 0)
            self.order_ms = grow(self.order_ms, rows, 0)
            for column in self.exclusive.values():
                column.ensure_rows(rows)
            self.overlapping.ensure_rows(rows)
            self.activity.ensure_rows(rows)
            self._dirty_rows.ensure_rows(rows)
            self.rows = rows

    def _current(self, row: int) -> Iterator[tuple[int, int]]:
        for column in self.exclusive.values():
            segment = int(column.segment[row])
            if segment != NO_ROW:
                yield segment, int(column.since_ms[row])
        yield from self.overlapping.of_row(row)

    def _set_known(self, rows: Rows, known: NDArray[np.bool_]) -> None:
        """Set whether each of these shoppers (each once) is a user."""
        for i in np.flatnonzero(self.known[rows] != known).tolist():
            for segment, _ in self._current(int(rows[i])):
                self.sizes.identified[segment] += 1 if known[i] else -1
        self.known[rows] = known

    def _recount_sizes(self) -> None:
        """Count the sizes of all segments from the memberships."""
        self.sizes = SegmentSizes()
        segments = len(self.registry)
        self.sizes.ensure_segments(segments)
        live = self.overlapping.owner != NO_ROW
        memberships = [(self.overlapping.segment[live], self.overlapping.owner[live])]
        for column in self.exclusive.values():
            rows = np.flatnonzero(column.segment[: self.rows] != NO_ROW)
            memberships.append((column.segment[rows], rows))
        segment = np.concatenate([one for one, _ in memberships])
        known = self.known[np.concatenate([rows for _, rows in memberships])]
        self.sizes.total = np.bincount(segment, minlength=segments).tolist()
        self.sizes.identified = np.bincount(segment[known], minlength=segments).tolist()

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
