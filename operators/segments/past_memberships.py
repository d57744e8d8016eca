"""Memberships that ended within the last day: of each a shopper, a segment, since when and until when.

Who is in a segment now says the audience; who was in it a while ago is needed to say what an order
counts for, how many came and went, and of how many it was.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segments.membership_columns import chained
from operators.tables.table import Table
from operators.tables.top_partners import grown
from state.dirty_rows import Marks
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Container, Mapping

    from numpy.typing import NDArray

    from operators.segments.membership_columns import Segments
    from operators.tables.table import Arrays
    from state.interactions import Rows, Times

    Counted = NDArray[np.int64]

NAMELESS = -2
"""Whose stay it was is no longer known: it still counts among those who came and went."""
SWEEP_MIN = 1024
STAYS_MAX = 64
"""A shopper with more stays than that keeps one of each segment, and these."""


class Stays:
    """A pool; stays of one shopper are a chain in it. 23 bytes a stay and 4 a shopper.

    owner int32[n] (NOBODY where free), segment int16[n], since_ms and left_ms int64[n], and `is_past`
    bool[n]: a later stay in the same segment counts instead, or one that goes on.
    """

    def __init__(self) -> None:
        self.owner: Rows = np.empty(0, np.int32)
        self.segment: Segments = np.empty(0, np.int16)
        self.since_ms: Times = np.empty(0, np.int64)
        self.left_ms: Times = np.empty(0, np.int64)
        self.is_past: NDArray[np.bool_] = np.empty(0, np.bool_)
        self.length = 0
        self._next: Rows = np.empty(0, np.int32)
        self._head: Rows = np.empty(0, np.int32)
        self._free: list[int] = []
        self._marks = Marks()
        self._view()

    def reach(self, rows: int) -> None:
        """Make room for so many shoppers."""
        if rows > len(self._head):
            self._head = grown(self._head, rows, NOBODY)
            self._view()

    def end(self, row: int, segment: int, since_ms: int, left_ms: int) -> None:
        """A stay ended. Of a shopper with a great many an earlier one there makes room for it."""
        _, segments, since, left, past, following, head = self._cells
        place, room, latest, many = head[row], NOBODY, NOBODY, 0
        while place != NOBODY:
            many += 1
            if segments[place] == segment:
                if room == NOBODY or left[place] < left[room]:
                    room = place
                if since[place] < left[place] and (latest == NOBODY or left[place] > left[latest]):
                    latest = place
                past[place] = True
                self._marks.mark(place)
            place = following[place]
        if room == NOBODY or many < STAYS_MAX:
            room = self._room(row)
        owner, segments, since, left, past, following, head = self._cells
        owner[room], segments[room] = row, segment
        since[room], left[room] = since_ms, left_ms
        past[room] = is_nothing = since_ms >= left_ms
        if is_nothing and latest not in (NOBODY, room):
            past[latest] = False
        self._marks.mark(room)

    def begin(self, row: int, segment: int) -> None:
        """A stay begins: those that ended in this segment are past."""
        _, segments, _, _, past, following, head = self._cells
        place = head[row]
        while place != NOBODY:
            if segments[place] == segment and not past[place]:
                past[place] = True
                self._marks.mark(place)
            place = following[place]

    def of(self, row: int) -> list[tuple[int, int, int]]:
        """Segment, since when and until when (ms), of one shopper."""
        _, segments, since, left, _, following, head = self._cells
        found: list[tuple[int, int, int]] = []
        place = head[row]
        while place != NOBODY:
            found.append((segments[place], since[place], left[place]))
            place = following[place]
        return found

    def move(self, row: int, heir: int, members: Container[int]) -> None:
        """What was one shopper's is another's, who is in some segments now."""
        moved = self._places(row)
        if not moved:
            return
        owner, segments, _, left, past, following, head = self._cells
        own = {segments[place]: place for place in self._places(heir) if not past[place]}
        for place in moved:
            owner[place] = heir
            if not past[place]:
                other = own.get(segments[place])
                if segments[place] in members:
                    past[place] = True
                elif other is not None:
                    past[place if left[place] <= left[other] else other] = True
                    self._marks.mark(other)
            self._marks.mark(place)
        following[moved[-1]], head[heir], head[row] = head[heir], moved[0], NOBODY

    def forget(self, row: int, *, erased: bool = False) -> None:
        """A shopper is no more: its stays are nobody's by name, or, erased, never were."""
        owner, *_, head = self._cells
        for place in self._places(row):
            owner[place] = NOBODY if erased else NAMELESS
            if erased:
                self._free.append(place)
            self._marks.mark(place)
        head[row] = NOBODY

    def let_go(self, segment: int, before_ms: int) -> bool:
        """Let go of all stays in a segment, if all ended before a time; whether they did."""
        there = (self.segment[: self.length] == segment) & (self.owner[: self.length] != NOBODY)
        places = np.flatnonzero(there)
        if (self.left_ms[places] >= before_ms).any():
            return False
        if len(places):
            self.owner[places] = NOBODY
            self._marks.mark(places)
            self._chain(len(self._head))
        return True

    def sweep(self, before_ms: int) -> None:
        """Let go of what ended before a time, if it is worth the trouble."""
        over = (self.owner[: self.length] != NOBODY) & (self.left_ms[: self.length] < before_ms)
        places = np.flatnonzero(over)
        if len(places) > max(SWEEP_MIN, self.length // 4):
            self.owner[places] = NOBODY
            self._marks.mark(places)
            self._chain(len(self._head))

    def came(self, after_ms: int, segments: int) -> Counted:
        """How many of these stays began after a time, by segment."""
        return self._counted(self.since_ms[: self.length] > after_ms, segments)

    def went(self, after_ms: int, segments: int) -> Counted:
        """How many ended after a time, by segment."""
        return self._counted(self.left_ms[: self.length] > after_ms, segments)

    def left_by(self, last_ms: Times, after_ms: int, segments: int) -> Counted:
        """Shoppers seen after a time who left each segment after it, and are not in it again."""
        part = slice(self.length)
        owner = self.owner[part]
        found = (owner >= 0) & ~self.is_past[part] & (self.left_ms[part] > after_ms)
        found[found] = last_ms[owner[found]] > after_ms
        return self._counted(found, segments)

    def table(self) -> Table:
        """The pool."""
        part = slice(self.length)
        columns: Arrays = {
            "stay.owner": self.owner[part],
            "stay.segment": self.segment[part],
            "stay.since_ms": self.since_ms[part],
            "stay.left_ms": self.left_ms[part],
            "stay.is_past": self.is_past[part],
        }
        return Table(columns, self._marks)

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], rows: int) -> None:
        """Take over what `table` gave; an older release stored none."""
        none = np.empty(0)
        self.owner = arrays.get("stay.owner", none).astype(np.int32)
        self.segment = arrays.get("stay.segment", none).astype(np.int16)
        self.since_ms = arrays.get("stay.since_ms", none).astype(np.int64)
        self.left_ms = arrays.get("stay.left_ms", none).astype(np.int64)
        self.is_past = arrays.get("stay.is_past", none).astype(np.bool_)
        self.length = len(self.owner)
        self._marks = Marks(self.length)
        self._chain(rows)

    def _room(self, row: int) -> int:
        """A free place, at the head of a shopper's chain."""
        if self._free:
            place = self._free.pop()
        else:
            place, self.length = self.length, self.length + 1
            if place == len(self.owner):
                self.owner = grown(self.owner, self.length, NOBODY)
                self.segment = grown(self.segment, self.length, NOBODY)
                self.since_ms = grown(self.since_ms, self.length, 0)
                self.left_ms = grown(self.left_ms, self.length, 0)
                self.is_past = grown(self.is_past, self.length, False)
                self._next = grown(self._next, self.length, NOBODY)
                self._view()
            self._marks.reach(self.length)
        *_, following, head = self._cells
        following[place], head[row] = head[row], place
        return place

    def _places(self, row: int) -> list[int]:
        *_, following, head = self._cells
        places: list[int] = []
        place = head[row]
        while place != NOBODY:
            places.append(place)
            place = following[place]
        return places

    def _counted(self, chosen: NDArray[np.bool_], segments: int) -> Counted:
        chosen &= self.owner[: self.length] != NOBODY
        return np.bincount(self.segment[: self.length][chosen], minlength=segments)

    def _chain(self, rows: int) -> None:
        """Find chains and free places anew."""
        owner = self.owner[: self.length]
        self._free = np.flatnonzero(owner == NOBODY)[::-1].tolist()
        self._head, self._next = chained(owner, rows, len(self.owner))
        self._view()

    def _view(self) -> None:
        columns = self.owner, self.segment, self.since_ms, self.left_ms, self.is_past
        self._cells = tuple(one.data for one in (*columns, self._next, self._head))
