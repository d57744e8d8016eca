"""Who looked at what lately: the newest views of all shoppers and items, in a ring of fixed size.

A view is four numbers, a batch of them one copy, and a snapshot holds the new ones only. Rows of
shoppers and items are given to others when they are free: what is older than that is not theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.tables.table import Kept, Table
from operators.tables.top_partners import grown
from state.dirty_rows import Marks
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Rows, Times

LONG_AGO_MS = np.iinfo(np.int64).min


class Views(Kept):
    """The newest `most` views.

    item int32[n], shopper int32[n], at_ms int64[n], bought bool[n]: whether it was a purchase;
    17 bytes a view. Of each row of shoppers and of items when it was last given up (ms): 8 bytes.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._columns: dict[str, NDArray[Any]] = {
            "item": np.empty(0, np.int32),
            "shopper": np.empty(0, np.int32),
            "at_ms": np.empty(0, np.int64),
            "bought": np.empty(0, np.bool_),
        }
        self._rows = 0
        self._next = 0
        self._marks = Marks()
        self._left = {"shopper": _Left(), "item": _Left()}
        self._moved: dict[int, int] = {}

    def add(self, shopper: Rows, item: Rows, at_ms: Times, bought: NDArray[np.bool_]) -> None:
        """Shoppers looked at items or bought them, n times, in arrival order."""
        n, most = len(shopper), self._most
        if not most or not n:
            return
        self._left["shopper"].reach(int(shopper.max()) + 1)
        self._left["item"].reach(int(item.max()) + 1)
        last = slice(max(0, n - most), n)
        place = (self._next + np.arange(n)[last]) % most
        self._rows = max(self._rows, int(place.max()) + 1)
        self._marks.reach(self._rows)
        self._marks.mark(place)
        new: dict[str, NDArray[Any]] = {
            "item": item,
            "shopper": shopper,
            "at_ms": at_ms,
            "bought": bought,
        }
        for name, values in new.items():
            self._columns[name] = column = grown(self._columns[name], self._rows, 0)
            column[place] = values[last]
        self._next = int((self._next + n) % most)

    def of(self, items: Rows) -> Looks:
        """What was done with some items, in one pass over all views."""
        self._settle()
        self._left["item"].reach(int(items.max(initial=-1)) + 1)
        wanted = np.zeros(len(self._left["item"].at_ms), np.bool_)
        wanted[items] = True
        found = np.flatnonzero(wanted[self._column("item")])
        item, shopper, at_ms, bought = (self._column(name)[found] for name in self._columns)
        since_ms = np.maximum(self._left["shopper"].at_ms[shopper], self._left["item"].at_ms[item])
        theirs = np.flatnonzero(at_ms > since_ms)
        order = theirs[item[theirs].argsort(kind="stable")]
        return Looks(item[order], shopper[order], at_ms[order], bought[order])

    def move(self, old: int, new: int) -> None:
        """What a shopper looked at is what another looked at: who it turned out to be."""
        self._moved[old] = new

    def _settle(self) -> None:
        """Give views to who their shoppers turned out to be: a pass over all, so now and then."""
        if not self._moved or not self._rows:
            return
        old, new = (np.fromiter(rows, np.int32) for rows in (self._moved, self._moved.values()))
        self._moved.clear()
        self._left["shopper"].reach(int(max(old.max(), new.max())) + 1)
        left_ms = self._left["shopper"].at_ms
        became = np.full(len(left_ms), NOBODY, np.int32)
        became[old] = new
        shopper = self._column("shopper")
        found = np.flatnonzero(became[shopper] != NOBODY)
        found = found[self._column("at_ms")[found] > left_ms[shopper[found]]]
        shopper[found] = became[shopper[found]]
        self._marks.mark(found)

    def leave(self, kind: str, rows: Rows, now_ms: int) -> None:
        """Shoppers or items (`kind`) are no more: what came of them until now is nobody's."""
        if len(rows):
            self._settle()
            self._left[kind].leave(rows, now_ms)

    def tables(self) -> Sequence[Table]:
        """The views, and when rows were given up."""
        self._settle()
        views = {name: self._column(name) for name in self._columns}
        return [Table(views, self._marks), *(one.table(kind) for kind, one in self._left.items())]

    def small(self) -> Arrays:
        """Where the next view goes."""
        return {"next": np.array([self._next], np.int64)}

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave, nothing of a release that had none of this.

        A ring that was full goes on at its end where there may be more now; one that is too large stays.
        """
        if "next" not in arrays:
            return
        for name, column in self._columns.items():
            self._columns[name] = arrays[name].astype(column.dtype)
        self._rows = len(self._columns["item"])
        if self._most:
            self._most = max(self._most, self._rows)
            grew = self._rows < self._most
            self._next = self._rows if grew else int(arrays["next"][0]) % self._most
        self._marks = Marks(self._rows)
        for kind, one in self._left.items():
            one.restore(arrays, kind)

    def _column(self, name: str) -> NDArray[Any]:
        return self._columns[name][: self._rows]


class Looks(NamedTuple):
    """Views of some items, those of an item together; columns as in `Views`."""

    item: Rows
    shopper: Rows
    at_ms: Times
    bought: NDArray[np.bool_]

    def lookers(self, item: int, after_ms: int, before_ms: int, most: int) -> Rows:
        """Who looked at an item in a span of time and has not bought it; the newest so many of them."""
        low, high = np.searchsorted(self.item, (item, item + 1))
        who, times = self.shopper[low:high], self.at_ms[low:high]
        recent = times > after_ms
        buyers = who[recent & self.bought[low:high]]
        chosen = recent & (times < before_ms) & ~np.isin(who, buyers)
        who, times = who[chosen], times[chosen]
        order = np.lexsort((who, -times))
        _, first = np.unique(who[order], return_index=True)
        newest: Rows = who[order][np.sort(first)][:most]
        return newest


class _Left:
    """When each row was given up last, at_ms int64[rows]."""

    def __init__(self) -> None:
        self.at_ms: Times = np.empty(0, np.int64)
        self._rows = 0
        self._marks = Marks()

    def reach(self, rows: int) -> None:
        if rows > self._rows:
            self.at_ms = grown(self.at_ms, rows, LONG_AGO_MS)
            self._marks.reach(rows)
            self._rows = rows

    def leave(self, rows: Rows, now_ms: int) -> None:
        rows = rows[(rows >= 0) & (rows < self._rows)]
        self.at_ms[rows] = now_ms
        self._marks.mark(rows)

    def table(self, kind: str) -> Table:
        return Table({f"{kind}_left_ms": self.at_ms[: self._rows]}, self._marks)

    def restore(self, arrays: Arrays, kind: str) -> None:
        self.at_ms = arrays[f"{kind}_left_ms"].astype(np.int64)
        self._rows = len(self.at_ms)
        self._marks = Marks(self._rows)
