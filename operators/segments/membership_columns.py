"""Who is in which segment since when, by shopper's row: as columns, of all kinds of segment.

Of an exclusive kind (clusters, RFM, lifecycle) a shopper is in one segment at most: a column each. Of
the others (rules, propensity) a shopper is in few of many: a pool of memberships. A segment is its
place in the roster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.table import Table
from operators.tables.top_partners import grown
from state.dirty_rows import Marks
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Rows, Times

    Segments = NDArray[np.int16]


class Roster:
    """Segment ids to places and back. A place is given away again only after its segment was let go:
    until then "" stands there.

    >>> roster = Roster(["cluster-0"]); roster.place("vip"), roster.place("cluster-0"), roster.ids
    (1, 0, ['cluster-0', 'vip'])
    >>> roster.let_go("cluster-0"); list(roster.ids), roster.place("new"), roster.ids
    (['', 'vip'], 0, ['new', 'vip'])
    """

    __slots__ = ("_closed", "_free", "_places", "ids")

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.ids = list(ids)
        self._places = {sid: place for place, sid in enumerate(self.ids) if sid}
        self._free = [place for place, sid in enumerate(self.ids) if not sid][::-1]
        self._closed: set[str] = set()

    def __len__(self) -> int:
        return len(self.ids)

    def place(self, sid: str) -> int:
        """The place of a segment, a new one if there was none."""
        place = self._places.get(sid)
        if place is None:
            if not self._free:
                self._free.append(len(self.ids))
                self.ids.append("")
            place = self._places[sid] = self._free.pop()
            self.ids[place] = sid
        return place

    def close(self, sid: str) -> None:
        """Speak no longer of a segment that nobody is in."""
        self._closed.add(sid)

    def let_go(self, sid: str) -> None:
        """Forget a segment that nobody is in, and of which nothing is counted."""
        place = self._places.pop(sid)
        self.ids[place] = ""
        self._closed.discard(sid)
        self._free = sorted([*self._free, place], reverse=True)

    def living(self) -> Iterator[tuple[int, str]]:
        """The segments there are, each with its place; those that are closed left out."""
        return ((place, sid) for place, sid in enumerate(self.ids) if self.is_living(place))

    def is_living(self, place: int) -> bool:
        """Whether there is a segment at a place, and not one that is closed."""
        sid = self.ids[place]
        return sid != "" and sid not in self._closed

    def find(self, sid: str) -> int:
        """The place of a segment, or NOBODY."""
        return self._places.get(sid, NOBODY)


class Sizes:
    """How many shoppers are in each segment, and how many of them are users, by place."""

    __slots__ = ("identified", "total")

    def __init__(self) -> None:
        self.total: list[int] = []
        self.identified: list[int] = []

    def reach(self, segments: int) -> None:
        """Make room for so many segments."""
        more = [0] * (segments - len(self.total))
        self.total += more
        self.identified += more

    def change(self, segment: int, by: int, *, known: bool) -> None:
        """A shopper entered (1) or left (-1)."""
        if segment >= len(self.total):
            self.reach(segment + 1)
        self.total[segment] += by
        self.identified[segment] += by * known


class Dimension:
    """An exclusive kind: segment int16[rows], NOBODY where in none; since_ms int64[rows].

    10 bytes a shopper. `columns` are the stored names of the two.
    """

    def __init__(self, columns: tuple[str, str]) -> None:
        self.columns = columns
        self.segment: Segments = np.empty(0, np.int16)
        self.since_ms: Times = np.empty(0, np.int64)

    def reach(self, rows: int) -> None:
        """Make room for so many rows."""
        self.segment = grown(self.segment, rows, NOBODY)
        self.since_ms = grown(self.since_ms, rows, 0)

    def named(self, rows: int) -> Arrays:
        """The columns, to be stored."""
        segment, since_ms = self.columns
        return {segment: self.segment[:rows], since_ms: self.since_ms[:rows]}

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], rows: int) -> bool:
        """Take over what `named` gave; False where an older release stored none."""
        segment, since_ms = self.columns
        self.segment = np.full(rows, NOBODY, np.int16)
        self.since_ms = np.zeros(rows, np.int64)
        if segment in arrays:
            self.segment[:] = arrays[segment]
        if since_ms in arrays:
            self.since_ms[:] = arrays[since_ms]
        return segment in arrays and since_ms in arrays


class Flags:
    """Memberships that exclude no others, as a pool; those of a shopper are a chain in it.

    owner int32[n] (NOBODY where free), segment int16[n], since_ms int64[n]: stored. Chains are made
    from these. 18 bytes a membership and 4 a shopper. Single cells are read and written through
    memory views of the same: a quarter of what NumPy takes for it.
    """

    def __init__(self) -> None:
        self.owner: Rows = np.empty(0, np.int32)
        self.segment: Segments = np.empty(0, np.int16)
        self.since_ms: Times = np.empty(0, np.int64)
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

    def of(self, row: int) -> list[tuple[int, int]]:
        """Segment and since when (ms), of one shopper, by segment."""
        _, segment, since_ms, following, head = self._cells
        found: list[tuple[int, int]] = []
        place = head[row]
        while place != NOBODY:
            found.append((segment[place], since_ms[place]))
            place = following[place]
        found.sort()
        return found

    def are_in_any(self, rows: Rows) -> NDArray[np.bool_]:
        """Whether each row has any membership."""
        found: NDArray[np.bool_] = self._head[rows] != NOBODY
        return found

    def add(self, row: int, segment: int, at_ms: int) -> bool:
        """A membership begins; False if it was there."""
        _, segments, _, following, head = self._cells
        place = first = head[row]
        while place != NOBODY:
            if segments[place] == segment:
                return False
            place = following[place]
        if self._free:
            place = self._free.pop()
        else:
            place, self.length = self.length, self.length + 1
            if place == len(self.owner):
                self.owner = grown(self.owner, self.length, NOBODY)
                self.segment = grown(self.segment, self.length, NOBODY)
                self.since_ms = grown(self.since_ms, self.length, 0)
                self._next = grown(self._next, self.length, NOBODY)
                self._view()
            self._marks.reach(self.length)
        owner, segments, since_ms, following, head = self._cells
        owner[place], segments[place], since_ms[place] = row, segment, at_ms
        following[place], head[row] = first, place
        self._marks.mark(place)
        return True

    def remove(self, row: int, segment: int) -> int | None:
        """A membership ends; since when it was (ms), None if there was none."""
        owner, segments, since_ms, following, head = self._cells
        before, place = NOBODY, head[row]
        while place != NOBODY:
            if segments[place] == segment:
                if before == NOBODY:
                    head[row] = following[place]
                else:
                    following[before] = following[place]
                owner[place] = NOBODY
                self._free.append(place)
                self._marks.mark(place)
                return int(since_ms[place])
            before, place = place, following[place]
        return None

    def rows_of(self, segment: int) -> Rows:
        """The shoppers of one segment, by row: which place a membership has, nobody can rely on."""
        places = np.flatnonzero(self.segment[: self.length] == segment)
        owner = self.owner[places]
        members: Rows = np.sort(owner[owner != NOBODY])
        return members

    def walks(self, places: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], Segments]]:
        """What else the owners of memberships are in that stands behind each in its chain.

        A step of the chains at a time: which of `places` go on, and the segment that each comes to.
        """
        who, at = np.arange(len(places)), self._next[places]
        while True:
            goes_on = at != NOBODY
            who, at = who[goes_on], at[goes_on]
            if not len(who):
                return
            yield who, self.segment[at]
            at = self._next[at]

    def table(self) -> Table:
        """The pool."""
        columns: Arrays = {
            "flag.owner": self.owner[: self.length],
            "flag.segment": self.segment[: self.length],
            "flag.since_ms": self.since_ms[: self.length],
        }
        return Table(columns, self._marks)

    def restore(self, arrays: Mapping[str, NDArray[np.generic]], rows: int) -> None:
        """Take over what `table` gave; an older release stored none."""
        none = np.empty(0)
        self.owner = arrays.get("flag.owner", none).astype(np.int32)
        self.segment = arrays.get("flag.segment", none).astype(np.int16)
        self.since_ms = arrays.get("flag.since_ms", none).astype(np.int64)
        self.length = len(self.owner)
        self._marks = Marks(self.length)
        self._free = np.flatnonzero(self.owner == NOBODY)[::-1].tolist()
        self._head, self._next = chained(self.owner, rows, self.length)
        self._view()

    def _view(self) -> None:
        """Look at the columns, and not at those that they took the place of."""
        columns = self.owner, self.segment, self.since_ms, self._next, self._head
        self._cells = tuple(column.data for column in columns)


def chained(owner: Rows, rows: int, room: int) -> tuple[Rows, Rows]:
    """Places of a pool by owner, below 0 for nobody: the first of each of so many owners, and which
    place follows each of so many, NOBODY for none.

    >>> head, following = chained(np.array([1, -1, 0, 1], np.int32), 3, 4)
    >>> head.tolist(), following.tolist()
    ([2, 0, -1], [3, -1, -1, -1])
    """
    head = np.full(rows, NOBODY, np.int32)
    following = np.full(room, NOBODY, np.int32)
    live = np.flatnonzero(owner >= 0).astype(np.int32)
    order = live[owner[live].argsort(kind="stable")]
    same = owner[order[1:]] == owner[order[:-1]]
    following[order[:-1][same]] = order[1:][same]
    first = order[np.concatenate([[True], ~same])[: len(order)]]
    head[owner[first]] = first
    return head, following
