"""The columns of memberships: which shopper is in which segment, since when, last activity.

This file stores and answers; `membership_index` changes memberships. The names of the arrays are stored:
do not change them. Times are event time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segments.activity import SegmentActivity
from operators.segments.kinds import EXCLUSIVE_KINDS
from operators.segments.membership_columns import ExclusiveColumn
from operators.segments.membership_pool import MembershipPool
from operators.segments.segment_registry import SegmentRegistry, SegmentSizes
from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.segments import cluster_segment_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times


class MembershipStore(TableState):
    """The memberships of all shoppers, by the shopper's row in the recommender's row index.

    known bool[rows], refused uint8[rows] (purposes, as bits), last_ms int64[rows], order_ms int64[rows],
    and the columns of each kind: 48 bytes a shopper, and 18 bytes a membership of an overlapping kind.
    `is_from_older_release`: the restored state comes from a release that did not store all kinds.
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

    def last_ms_of(self, row: int) -> int:
        """Return the last activity of a row (ms), 0 for none, -1 where there is no such row."""
        return int(self.last_ms[row]) if 0 <= row < self.rows else -1

    def last_seen_ms(self, rows: Rows) -> Times:
        """Return the time of each row's last activity (ms), 0 for none."""
        self.ensure_rows(int(rows.max(initial=-1)) + 1)
        last_ms: Times = self.last_ms[rows]
        return last_ms

    def refused_by(self, row: int) -> int:
        """Return the purposes that the shopper of a row refuses, as bits; 0 for NO_ROW."""
        return int(self.refused[row]) if 0 <= row < self.rows else 0

    def is_known(self, row: int) -> bool:
        """Return whether the shopper of a row is a user (not an anonymous device)."""
        return 0 <= row < self.rows and bool(self.known[row])

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
        return [
            Table(columns, self._dirty_rows),
            *self.overlapping.tables(),
            *self.activity.tables(),
        ]

    def scalars(self) -> Arrays:
        """The segment ids by index, and the counts by minute and hour."""
        # Stored name: "roster" is the registry.
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

    def mark_stored(self) -> None:
        """Note that the state is stored. Mark all rows as changed where an older release stored
        less."""
        if self.is_from_older_release:
            self._dirty_rows.mark_all()

    def _stored_ids(self, arrays: Mapping[str, NDArray[np.generic]]) -> list[str]:
        """Return the segment ids by index. Older releases stored none: the index was the cluster
        number."""
        if "roster" in arrays:
            return arrays["roster"].tobytes().decode().split("\n")
        column, _ = self.exclusive["cluster"].columns
        clusters = int(arrays[column].max(initial=NO_ROW)) + 1
        counted = [one.shape[-1] for name, one in arrays.items() if name.endswith(".counts")]
        return [cluster_segment_id(number) for number in range(max(clusters, *counted, 0))]

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

    def _current(self, row: int) -> Iterator[tuple[int, int]]:
        for column in self.exclusive.values():
            segment = int(column.segment[row])
            if segment != NO_ROW:
                yield segment, int(column.since_ms[row])
        yield from self.overlapping.of_row(row)
