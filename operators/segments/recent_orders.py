"""The orders of the last day: whose, when, for how much, and the segments each counts for.

An order counts for the segments its shopper was in just before it and, apart, for those just after.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.tables.table import Table
from operators.tables.top_partners import grown
from state.dirty_rows import Marks
from state.interactions import NOBODY
from state.money import add_at

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from operators.segments.membership_columns import Segments
    from state.interactions import Rows, Times

    Counted = NDArray[np.int64]

BEFORE, AFTER = 1, 2
FREE = -2
"""The segment of a place that holds nothing; NOBODY is that of an order itself, which is the shop's."""


class Worth(NamedTuple):
    """By segment, int64[n], and last of the whole shop: orders and what they are worth (millionths) by
    shoppers who stood in it just before and just after, and how many shoppers those before were."""

    orders: Counted
    micros: Counted
    buyers: Counted
    orders_after: Counted
    micros_after: Counted


class Sold:
    """A pool: a place for each order, and one for each segment it counts for. 27 bytes each.

    order int32[n] (the place of the order), owner int32[n], segment int16[n], when uint8[n], at_ms and
    micros int64[n].
    """

    def __init__(self) -> None:
        self.restore({})

    def add(self, row: int, at_ms: int, micros: int, when: Mapping[int, int]) -> None:
        """A shopper ordered; `when` says of each segment whether BEFORE, AFTER or both."""
        order = self._room()
        self._set(order, order, row, NOBODY, BEFORE | AFTER, at_ms, micros)
        for segment, flags in when.items():
            self._set(self._room(), order, row, segment, flags, at_ms, micros)

    def orders_of(self, row: int, since_ms: int) -> list[tuple[int, int, int]]:
        """The orders of a shopper since a time: place, time (ms), worth."""
        part = slice(self.length)
        found = (self._owner[part] == row) & (self._at_ms[part] >= since_ms)
        places = np.flatnonzero(found & (self._segment[part] == NOBODY)).tolist()
        return [(place, int(self._at_ms[place]), int(self._micros[place])) for place in places]

    def when(self, order: int) -> dict[int, int]:
        """The segments that an order counts for."""
        places = self._places(order)
        return dict(zip(self._segment[places].tolist(), self._when[places].tolist(), strict=True))

    def settle(self, order: int, when: Mapping[int, int]) -> None:
        """An order counts for these segments, and no others of those that are named."""
        places = self._places(order)
        there = dict(zip(self._segment[places].tolist(), places.tolist(), strict=True))
        row, at_ms, micros = (int(one[order]) for one in (self._owner, self._at_ms, self._micros))
        for segment, flags in when.items():
            place = there.get(segment)
            if place is None and flags:
                self._set(self._room(), order, row, segment, flags, at_ms, micros)
            elif place is not None and flags:
                self._when[place] = flags
                self._marks.mark(place)
            elif place is not None:
                self._let_go([place])

    def take_back(self, order: int) -> None:
        """An order does not count."""
        self._let_go([order, *self._places(order).tolist()])

    def move(self, row: int, heir: int) -> None:
        """What was one shopper's is another's; of NOBODY it is the shop's, and nobody's by name."""
        places = np.flatnonzero(self._owner[: self.length] == row)
        self._owner[places] = heir
        self._marks.mark(places)

    def erase(self, row: int) -> None:
        """What a shopper ordered was never ordered."""
        self._let_go(np.flatnonzero(self._owner[: self.length] == row).tolist())

    def is_for(self, segment: int) -> bool:
        """Whether an order counts for a segment."""
        return bool((self._segment[: self.length] == segment).any())

    def sweep(self, before_ms: int) -> None:
        """Let go of orders before a time."""
        part = slice(self.length)
        over = (self._segment[part] != FREE) & (self._at_ms[part] < before_ms)
        self._let_go(np.flatnonzero(over).tolist())

    def worth(self, after_ms: int, segments: int) -> Worth:
        """What there is after a time."""
        part = slice(self.length)
        found = (self._segment[part] != FREE) & (self._at_ms[part] > after_ms)
        segment = self._segment[part][found].astype(np.int64)
        segment[segment == NOBODY] = segments
        when, micros, owner = self._when[part][found], self._micros[part][found], self._owner[part]
        sums: list[Counted] = []
        for flag in (BEFORE, AFTER):
            some = (when & flag) > 0
            orders = np.bincount(segment[some], minlength=segments + 1)
            value = np.zeros(segments + 1, np.int64)
            add_at(value, segment[some], micros[some])
            sums += [orders, value]
        by_name = ((when & BEFORE) > 0) & (owner[found] != NOBODY)
        people = np.unique((segment[by_name] << 32) | owner[found][by_name])
        buyers = np.bincount(people >> 32, minlength=segments + 1)
        return Worth(sums[0], sums[1], buyers, sums[2], sums[3])

    def table(self) -> Table:
        """The pool."""
        columns = {f"sold.{name}": getattr(self, f"_{name}")[: self.length] for name in _COLUMNS}
        return Table(columns, self._marks)

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `table` gave; an older release stored none."""
        found = [arrays.get(f"sold.{name}", np.empty(0)) for name in _COLUMNS]
        order, owner, segment, when, at_ms, micros = found
        self._order: Rows = order.astype(np.int32)
        self._owner: Rows = owner.astype(np.int32)
        self._segment: Segments = segment.astype(np.int16)
        self._when: NDArray[np.uint8] = when.astype(np.uint8)
        self._at_ms: Times = at_ms.astype(np.int64)
        self._micros: Times = micros.astype(np.int64)
        self.length = len(self._order)
        self._free: list[int] = np.flatnonzero(self._segment == FREE)[::-1].tolist()
        self._marks = Marks(self.length)

    def _places(self, order: int) -> NDArray[np.intp]:
        part = slice(self.length)
        return np.flatnonzero((self._order[part] == order) & (self._segment[part] >= 0))

    def _room(self) -> int:
        if self._free:
            return self._free.pop()
        place, self.length = self.length, self.length + 1
        if place == len(self._order):
            self._order = grown(self._order, self.length, NOBODY)
            self._owner = grown(self._owner, self.length, NOBODY)
            self._segment = grown(self._segment, self.length, FREE)
            self._when = grown(self._when, self.length, 0)
            self._at_ms = grown(self._at_ms, self.length, 0)
            self._micros = grown(self._micros, self.length, 0)
        self._marks.reach(self.length)
        return place

    def _set(
        self, place: int, order: int, row: int, segment: int, when: int, at_ms: int, micros: int
    ) -> None:
        self._order[place], self._owner[place] = order, row
        self._segment[place], self._when[place] = segment, when
        self._at_ms[place], self._micros[place] = at_ms, micros
        self._marks.mark(place)

    def _let_go(self, places: Iterable[int]) -> None:
        for place in places:
            self._order[place] = self._owner[place] = NOBODY
            self._segment[place] = FREE
            self._marks.mark(place)
            self._free.append(place)


_COLUMNS = ("order", "owner", "segment", "when", "at_ms", "micros")
