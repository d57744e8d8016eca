"""The shoppers as segments see them: who is in which, who enters and leaves, when each was seen last.

Memberships are the flow's own state; Redis only shows them (`operators.publish.memberships`). Whatever
a kind of
segment decides is applied here, the same way for all. Times are event time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segments.changes import Change
from operators.segments.membership_columns import Dimension, Flags, Roster, Sizes
from operators.segments.value import Worth
from operators.tables.table import Kept, Table
from operators.tables.top_partners import grown
from state.dirty_rows import Marks
from state.interactions import NOBODY
from state.segments import cluster_id
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.membership_columns import Segments
    from operators.tables.table import Arrays
    from state.interactions import Rows, Times, Vocabulary
    from state.messages import Transition

DIMENSIONS = {
    "cluster": ("cluster", "entered_ms"),
    "rfm": ("rfm", "rfm_ms"),
    "lifecycle": ("lifecycle", "lifecycle_ms"),
}
"""The exclusive kinds, and the stored names of their columns."""


class Audience(Kept):
    """Memberships of shoppers, by row of the recommender's vocabulary.

    known bool[rows], refused uint8[rows] (purposes, as bits), last_ms int64[rows], order_ms int64[rows],
    and those of `operators.segments.membership_columns`: 48 bytes a shopper and 18 a membership of
    other kinds.
    `is_older`: what was restored is of a release that did not store all kinds.
    """

    def __init__(self, segments: Iterable[str] = ()) -> None:
        self.rows = 0
        self.known: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.refused: NDArray[np.uint8] = np.empty(0, np.uint8)
        self.last_ms: Times = np.empty(0, np.int64)
        self.order_ms: Times = np.empty(0, np.int64)
        self.roster = Roster(segments)
        self.dimensions = {kind: Dimension(columns) for kind, columns in DIMENSIONS.items()}
        self.flags = Flags()
        self.sizes = Sizes()
        self.worth = Worth(self._places)
        self._marks = Marks()
        self.is_older = self._is_refused = False

    def see(self, rows: Rows, known: Sequence[bool], at_ms: Times) -> Rows:
        """Shoppers were active. Gives those in segments for whom it is the first time that day."""
        self.reach(int(rows.max(initial=-1)) + 1)
        first = rows[at_ms // DAY_MS > self.last_ms[rows] // DAY_MS]
        self._know(rows, np.asarray(known, np.bool_))
        self.last_ms[rows] = np.maximum(self.last_ms[rows], at_ms)
        self._marks.mark(rows)
        return first[self.are_anywhere(first)]

    def refuse(self, rows: Rows, refused: Sequence[int]) -> None:
        """Shoppers who were active refuse these purposes, as bits, and no others."""
        if self._is_refused or any(refused):
            self._is_refused = True
            self.refused[rows] = refused

    def refused_by(self, row: int) -> int:
        """The purposes that the shopper of a row refuses, as bits; none of NOBODY."""
        return int(self.refused[row]) if 0 <= row < self.rows else 0

    def last_seen(self, rows: Rows) -> Times:
        """When each was seen last, 0 for never."""
        self.reach(int(rows.max(initial=-1)) + 1)
        last_ms: Times = self.last_ms[rows]
        return last_ms

    def put(
        self, kind: str, shoppers: Sequence[str], rows: Rows, segment: Segments, at_ms: Times
    ) -> list[Change]:
        """Put each shopper into one segment of an exclusive kind, by its place; NOBODY: into none."""
        self.reach(int(rows.max(initial=-1)) + 1)
        dimension = self.dimensions[kind]
        before, since_ms = dimension.segment[rows], dimension.since_ms[rows]
        changes: list[Change] = []
        moved = np.flatnonzero(before != segment)
        for i in moved.tolist():
            name, now_ms, old, new = shoppers[i], int(at_ms[i]), int(before[i]), int(segment[i])
            if old != NOBODY:
                changes.append(self._left(name, int(rows[i]), old, now_ms, int(since_ms[i])))
            if new != NOBODY:
                changes.append(self._entered(name, int(rows[i]), new, now_ms))
        dimension.segment[rows[moved]] = segment[moved]
        dimension.since_ms[rows[moved]] = at_ms[moved]
        self._marks.mark(rows[moved])
        return changes

    def apply(self, transitions: Iterable[Transition], shoppers: Vocabulary) -> list[Change]:
        """Let shoppers enter and leave segments that exclude no others; repeats change nothing."""
        changes: list[Change] = []
        flags, roster, find = self.flags, self.roster, shoppers.rows.get
        for name, sid, entered, at_ms in transitions:
            row, segment = find(name, NOBODY), roster.find(sid)
            if not entered:
                if 0 <= row < self.rows and segment != NOBODY:
                    since_ms = flags.remove(row, segment)
                    if since_ms is not None:
                        changes.append(self._left(name, row, segment, at_ms, since_ms))
                continue
            if segment == NOBODY:
                segment = roster.place(sid)
            if row == NOBODY:
                row = shoppers.row(name)
            if row >= self.rows:
                self.reach(row + 1)
            if flags.add(row, segment, at_ms):
                changes.append(self._entered(name, row, segment, at_ms))
        return changes

    def drop(self, row: int, shopper: str, at_ms: int) -> list[Change]:
        """Take a shopper that is no more out of its segments; `row` is NOBODY for one never seen."""
        if not 0 <= row < self.rows:
            return []
        changes: list[Change] = []
        for dimension in self.dimensions.values():
            segment = int(dimension.segment[row])
            if segment != NOBODY:
                dimension.segment[row] = NOBODY
                since_ms = int(dimension.since_ms[row])
                changes.append(self._left(shopper, row, segment, at_ms, since_ms))
        for segment, since_ms in self.flags.of(row):
            self.flags.remove(row, segment)
            changes.append(self._left(shopper, row, segment, at_ms, since_ms))
        self._marks.mark(row)
        return changes

    def forget(self, rows: Rows) -> None:
        """These shoppers, who were dropped before, were never seen."""
        rows = rows[rows < self.rows]
        for row, ordered_ms in zip(rows.tolist(), self.order_ms[rows].tolist(), strict=True):
            self.worth.forget(row, ordered=ordered_ms > 0)
        self.known[rows], self.last_ms[rows], self.order_ms[rows] = False, 0, 0
        self.refused[rows] = 0
        self._marks.mark(rows)

    def set_right(
        self, lost: Iterable[Change], row_of: Callable[[str], int]
    ) -> tuple[list[Change], list[Change]]:
        """What takes back what a run that was lost told of memberships and that does not hold.

        `lost` is what the change streams said last of each, `row_of` gives a shopper's row or NOBODY.
        Gives changes that have to be told, and memberships to write again as they are: the streams are
        written first, so of what they say the rest may have been cut off anywhere, between a shopper's
        hash and the segment's members too.
        """
        changes: list[Change] = []
        again: list[Change] = []
        for change in lost:
            since_ms = dict(self.of(row_of(change.shopper))).get(change.segment)
            if since_ms is None:
                if change.kind == "enter":
                    changes.append(change._replace(kind="leave"))
                else:
                    again.append(change)
            elif change.kind == "leave":
                changes.append(change._replace(kind="enter", at_ms=since_ms))
            else:
                again.append(change._replace(at_ms=since_ms))
        return changes, again

    def order(self, row: int, micros: int, at_ms: int) -> None:
        """Count a purchase for the segments its shopper was in just before and just after it."""
        self.reach(row + 1)
        self._marks.mark(row)
        self.order_ms[row] = max(self.order_ms[row], at_ms)
        self.worth.order(row, micros, at_ms)

    def leave(self, row: int, heir: int) -> None:
        """A shopper who was dropped turned out to be another, or (NOBODY) was erased."""
        ordered_ms = int(self.order_ms[row])
        if heir == NOBODY:
            self.worth.erase(row, ordered=ordered_ms > 0)
            return
        self.reach(heir + 1)
        heir_ordered = bool(self.order_ms[heir])
        self.worth.move(row, heir, ordered=ordered_ms > 0, heir_ordered=heir_ordered)
        self.order_ms[heir] = max(self.order_ms[heir], ordered_ms)
        self._marks.mark(heir)

    def came(self, after_ms: int) -> NDArray[np.int64]:
        """How many entered each segment after a time, whether they are in it still or not."""
        segments = len(self.roster)
        found = self.worth.stays.came(after_ms, segments)
        for one in self.dimensions.values():
            there = one.segment[one.since_ms > after_ms]
            found += np.bincount(there[there != NOBODY], minlength=segments)
        length = self.flags.length
        new = self.flags.since_ms[:length] > after_ms
        new &= self.flags.owner[:length] != NOBODY
        return found + np.bincount(self.flags.segment[:length][new], minlength=segments)

    def of(self, row: int) -> list[tuple[str, int]]:
        """The segments of a row and since when (ms); none of NOBODY.

        Where an older release did not store since when, the time the shopper was last seen.
        """
        if not 0 <= row < self.rows:
            return []
        last_ms, ids = int(self.last_ms[row]), self.roster.ids
        return [(ids[segment], at_ms or last_ms) for segment, at_ms in self._places(row)]

    def are_anywhere(self, rows: Rows) -> NDArray[np.bool_]:
        """Whether each row is in any segment."""
        found = self.flags.are_in_any(rows)
        for dimension in self.dimensions.values():
            found |= dimension.segment[rows] != NOBODY
        return found

    def is_known(self, row: int) -> bool:
        """Whether the shopper of a row, if there is one, is a user."""
        return 0 <= row < self.rows and bool(self.known[row])

    def segment_of(self, kind: str, row: int) -> int:
        """The place of the segment of an exclusive kind that a row is in, or NOBODY."""
        return int(self.dimensions[kind].segment[row]) if 0 <= row < self.rows else NOBODY

    def segments_of(self, kind: str, rows: Rows) -> list[str | None]:
        """The segment of an exclusive kind of each row, None where it is in none."""
        self.reach(int(rows.max(initial=-1)) + 1)
        names: list[str | None] = [*self.roster.ids, None]
        return [names[segment] for segment in self.dimensions[kind].segment[rows].tolist()]

    def size_of(self, sid: str) -> int:
        """How many shoppers are in a segment."""
        segment = self.roster.find(sid)
        return self.sizes.total[segment] if 0 <= segment < len(self.sizes.total) else 0

    def members(self, segment: int) -> Rows:
        """The shoppers of a segment, by its place."""
        for dimension in self.dimensions.values():
            rows = np.flatnonzero(dimension.segment[: self.rows] == segment)
            if len(rows):
                return rows.astype(np.int32)
        return self.flags.rows_of(segment)

    def tables(self) -> Sequence[Table]:
        """What is known of each shopper, and memberships that exclude no others."""
        columns: dict[str, NDArray[np.generic]] = {
            "known": self.known[: self.rows],
            "refused": self.refused[: self.rows],
            "last_ms": self.last_ms[: self.rows],
            "order_ms": self.order_ms[: self.rows],
        }
        for dimension in self.dimensions.values():
            columns |= dimension.named(self.rows)
        return [Table(columns, self._marks), self.flags.table(), *self.worth.tables()]

    def small(self) -> Arrays:
        """The roster and counts."""
        ids = "\n".join(self.roster.ids).encode()
        return {"roster": np.frombuffer(ids, np.uint8), **self.worth.counts.small()}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over a state that `arrays` gave. Former releases knew only clusters."""
        self.known = arrays["known"].astype(np.bool_)
        self.last_ms = arrays["last_ms"].astype(np.int64)
        self.order_ms = arrays["order_ms"].astype(np.int64)
        self.rows = len(self.known)
        self.refused = np.zeros(self.rows, np.uint8)
        if "refused" in arrays:
            self.refused[:] = arrays["refused"]
            self._is_refused = bool(self.refused.any())
        asked, self.roster = self.roster.ids, Roster(self._stored_roster(arrays))
        for sid in asked:
            self.roster.place(sid)
        complete = [one.restore(arrays, self.rows) for one in self.dimensions.values()]
        self.is_older = not all(complete)
        self.flags.restore(arrays, self.rows)
        self.worth.restore(arrays, self.rows)
        self._count()
        self._marks = Marks(self.rows)

    def _stored_roster(self, arrays: Mapping[str, NDArray[np.generic]]) -> list[str]:
        """The ids by place; in former releases, which stored none, a place was a cluster's number."""
        if "roster" in arrays:
            return arrays["roster"].tobytes().decode().split("\n")
        column, _ = self.dimensions["cluster"].columns
        clusters = int(arrays[column].max(initial=NOBODY)) + 1
        counted = [one.shape[-1] for name, one in arrays.items() if name.endswith(".counts")]
        return [cluster_id(number) for number in range(max(clusters, *counted, 0))]

    def settled(self) -> None:
        """Hear that all is stored: what an older release did not know of is not."""
        if self.is_older:
            self._marks.mark_all()

    def reach(self, rows: int) -> None:
        """Make room for so many rows."""
        if rows > self.rows:
            self.known = grown(self.known, rows, False)
            self.refused = grown(self.refused, rows, 0)
            self.last_ms = grown(self.last_ms, rows, 0)
            self.order_ms = grown(self.order_ms, rows, 0)
            for dimension in self.dimensions.values():
                dimension.reach(rows)
            self.flags.reach(rows)
            self.worth.reach(rows)
            self._marks.reach(rows)
            self.rows = rows

    def _places(self, row: int) -> Iterator[tuple[int, int]]:
        for dimension in self.dimensions.values():
            segment = int(dimension.segment[row])
            if segment != NOBODY:
                yield segment, int(dimension.since_ms[row])
        yield from self.flags.of(row)

    def _know(self, rows: Rows, known: NDArray[np.bool_]) -> None:
        """These shoppers, each once, are users or not."""
        for i in np.flatnonzero(self.known[rows] != known).tolist():
            for segment, _ in self._places(int(rows[i])):
                self.sizes.identified[segment] += 1 if known[i] else -1
        self.known[rows] = known

    def _count(self) -> None:
        """Sizes, from memberships."""
        self.sizes = Sizes()
        segments = len(self.roster)
        self.sizes.reach(segments)
        live = self.flags.owner != NOBODY
        found = [(self.flags.segment[live], self.flags.owner[live])]
        for dimension in self.dimensions.values():
            rows = np.flatnonzero(dimension.segment[: self.rows] != NOBODY)
            found.append((dimension.segment[rows], rows))
        segment = np.concatenate([one for one, _ in found])
        known = self.known[np.concatenate([rows for _, rows in found])]
        self.sizes.total = np.bincount(segment, minlength=segments).tolist()
        self.sizes.identified = np.bincount(segment[known], minlength=segments).tolist()

    def _entered(self, shopper: str, row: int, segment: int, at_ms: int) -> Change:
        self.worth.entered(row, segment, at_ms, self.order_ms.item(row))
        known = self.known.item(row)
        self.sizes.change(segment, 1, known=known)
        refused = self.refused.item(row)
        return Change("enter", shopper, self.roster.ids[segment], at_ms, known, refused=refused)

    def _left(self, shopper: str, row: int, segment: int, at_ms: int, since_ms: int) -> Change:
        self.worth.left(row, segment, since_ms, at_ms, self.order_ms.item(row))
        known = self.known.item(row)
        self.sizes.change(segment, -1, known=known)
        refused = self.refused.item(row)
        return Change("leave", shopper, self.roster.ids[segment], at_ms, known, refused=refused)
