"""The columns of memberships: which shopper (by row) is in which segment since when.

Exclusive kinds (clusters, RFM, lifecycle): a shopper is in one segment at most, so there is a
column for each kind. Overlapping kinds (rules, propensity): a shopper is in few of many segments,
so there is a pool of memberships. A segment is stored as its index in the registry.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.table import Table
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times

    SegmentIndexes = NDArray[np.int16]


class SegmentRegistry:
    """Segment ids to indexes and back. An index is reused only after its segment was released:
    until then its id is "".

    >>> registry = SegmentRegistry(["cluster-0"])
    >>> registry.index_of("vip"), registry.index_of("cluster-0"), registry.ids
    (1, 0, ['cluster-0', 'vip'])
    >>> registry.release("cluster-0"); list(registry.ids), registry.index_of("new"), registry.ids
    (['', 'vip'], 0, ['new', 'vip'])
    """

    __slots__ = ("_closed", "_free", "_indexes", "ids")

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.ids = list(ids)
        self._indexes = {sid: index for index, sid in enumerate(self.ids) if sid}
        self._free = [index for index, sid in enumerate(self.ids) if not sid][::-1]
        self._closed: set[str] = set()

    def __len__(self) -> int:
        return len(self.ids)

    def index_of(self, sid: str) -> int:
        """Return the index of a segment, a new one if it has none."""
        index = self._indexes.get(sid)
        if index is None:
            if not self._free:
                self._free.append(len(self.ids))
                self.ids.append("")
            index = self._indexes[sid] = self._free.pop()
            self.ids[index] = sid
        return index

    def close(self, sid: str) -> None:
        """Leave a segment without members out of `active`."""
        self._closed.add(sid)

    def release(self, sid: str) -> None:
        """Free the index of a segment that has neither members nor counts."""
        index = self._indexes.pop(sid)
        self.ids[index] = ""
        self._closed.discard(sid)
        self._free = sorted([*self._free, index], reverse=True)

    def active(self) -> Iterator[tuple[int, str]]:
        """Yield index and id of each segment that is not closed."""
        return ((index, sid) for index, sid in enumerate(self.ids) if self.is_active(index))

    def is_active(self, index: int) -> bool:
        """Return whether there is a segment at an index that is not closed."""
        sid = self.ids[index]
        return sid != "" and sid not in self._closed

    def find(self, sid: str) -> int:
        """Return the index of a segment, or NO_ROW."""
        return self._indexes.get(sid, NO_ROW)


class SegmentSizes:
    """The number of shoppers in each segment, and of users among them, by segment index."""

    __slots__ = ("identified", "total")

    def __init__(self) -> None:
        self.total: list[int] = []
        self.identified: list[int] = []

    def ensure_segments(self, segments: int) -> None:
        """Grow to at least this many segments."""
        more = [0] * (segments - len(self.total))
        self.total += more
        self.identified += more

    def change(self, segment: int, by: int, *, known: bool) -> None:
        """Count a shopper who entered (1) or left (-1)."""
        if segment >= len(self.total):
            self.ensure_segments(segment + 1)
        self.total[segment] += by
        self.identified[segment] += by * known


class ExclusiveColumn:
    """An exclusive kind: segment int16[rows], NO_ROW for none; since_ms int64[rows].

    10 bytes a shopper. `columns` are the stored names of the two.
    """

    def __init__(self, columns: tuple[str, str]) -> None:
        self.columns = columns
        self.segment: SegmentIndexes = np.empty(0, np.int16)
        self.since_ms: Times = np.empty(0, np.int64)

    def ensure_rows(self, rows: int) -> None:
        """Grow to at least this many rows."""
        self.segment = grow(self.segment, rows, NO_ROW)
        self.since_ms = grow(self.since_ms, rows, 0)

    def stored_columns(self, rows: int) -> Arrays:
        """Return the columns under their stored names."""
        segment, since_ms = self.columns
        return {segment: self.segment[:rows], since_ms: self.since_ms[:rows]}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], rows: int) -> bool:
        """Restore what `stored_columns` returned; False where an older release stored none."""
        segment, since_ms = self.columns
        self.segment = np.full(rows, NO_ROW, np.int16)
        self.since_ms = np.zeros(rows, np.int64)
        if segment in arrays:
            self.segment[:] = arrays[segment]
        if since_ms in arrays:
            self.since_ms[:] = arrays[since_ms]
        return segment in arrays and since_ms in arrays


class MembershipPool:
    """Memberships of overlapping kinds, as a pool. The memberships of a shopper are a linked list
    in it.

    owner int32[n] (NO_ROW for a free slot), segment int16[n], since_ms int64[n]: stored. The links
    are built from these. 18 bytes a membership and 4 a shopper. Single cells are read and written
    through memory views of the arrays: a quarter of the time that NumPy takes.
    """

    def __init__(self) -> None:
        self.owner: Rows = np.empty(0, np.int32)
        self.segment: SegmentIndexes = np.empty(0, np.int16)
        self.since_ms: Times = np.empty(0, np.int64)
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
        slot = first = head[row]
        while slot != NO_ROW:
            if segments[slot] == segment:
                return False
            slot = next_slot[slot]
        if self._free:
            slot = self._free.pop()
        else:
            slot, self.length = self.length, self.length + 1
            if slot == len(self.owner):
                self.owner = grow(self.owner, self.length, NO_ROW)
                self.segment = grow(self.segment, self.length, NO_ROW)
                self.since_ms = grow(self.since_ms, self.length, 0)
                self._next = grow(self._next, self.length, NO_ROW)
                self._refresh_cells()
            self._dirty_rows.ensure_rows(self.length)
        owner, segments, since_ms, next_slot, head = self._cells
        owner[slot], segments[slot], since_ms[slot] = row, segment, at_ms
        next_slot[slot], head[row] = first, slot
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

    def walk_chains(
        self, slots: NDArray[np.intp]
    ) -> Iterator[tuple[NDArray[np.intp], SegmentIndexes]]:
        """Yield the other segments of the owners of memberships, from each membership's list
        onward.

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

    def table(self) -> Table:
        """The pool."""
        columns: Arrays = {
            "flag.owner": self.owner[: self.length],
            "flag.segment": self.segment[: self.length],
            "flag.since_ms": self.since_ms[: self.length],
        }
        return Table(columns, self._dirty_rows)

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], rows: int) -> None:
        """Restore what `table` returned; an older release stored none."""
        none = np.empty(0)
        self.owner = arrays.get("flag.owner", none).astype(np.int32)
        self.segment = arrays.get("flag.segment", none).astype(np.int16)
        self.since_ms = arrays.get("flag.since_ms", none).astype(np.int64)
        self.length = len(self.owner)
        self._dirty_rows = DirtyRows(self.length)
        self._free = np.flatnonzero(self.owner == NO_ROW)[::-1].tolist()
        self._head, self._next = build_chains(self.owner, rows, self.length)
        self._refresh_cells()

    def _refresh_cells(self) -> None:
        """Take memory views of the current arrays."""
        columns = self.owner, self.segment, self.since_ms, self._next, self._head
        self._cells = tuple(column.data for column in columns)


def build_chains(owner: Rows, rows: int, length: int) -> tuple[Rows, Rows]:
    """Build the linked lists of a pool by owner (below 0 for none): the first slot of each of
    `rows` owners, and the next slot of each of `length` slots, NO_ROW for none.

    >>> head, next_slot = build_chains(np.array([1, -1, 0, 1], np.int32), 3, 4)
    >>> head.tolist(), next_slot.tolist()
    ([2, 0, -1], [3, -1, -1, -1])
    """
    head = np.full(rows, NO_ROW, np.int32)
    next_slot = np.full(length, NO_ROW, np.int32)
    live = np.flatnonzero(owner >= 0).astype(np.int32)
    order = live[owner[live].argsort(kind="stable")]
    same = owner[order[1:]] == owner[order[:-1]]
    next_slot[order[:-1][same]] = order[1:][same]
    heads = order[np.concatenate([[True], ~same])[: len(order)]]
    head[owner[heads]] = heads
    return head, next_slot
