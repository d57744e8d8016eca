"""The most recent item views of all shoppers, in a ring of fixed size.

A view is four numbers, a batch of views one copy, and a snapshot holds the new ones only. The columns
are stored. A free row of a shopper or an item is given to a new id later: views from before the row was
released do not belong to the new id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.times import NEVER_SEEN_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times


class RecentViews(TableState):
    """The newest `limit` views.

    item int32[n], shopper int32[n], at_ms int64[n], bought bool[n]: whether it was a purchase;
    17 bytes a view. For each shopper row and item row, when it was last released (ms): 8 bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._columns: dict[str, NDArray[Any]] = {
            "item": np.empty(0, np.int32),
            "shopper": np.empty(0, np.int32),
            "at_ms": np.empty(0, np.int64),
            "bought": np.empty(0, np.bool_),
        }
        self._rows = 0
        self._next = 0
        self._dirty_rows = DirtyRows()
        self._released = {"shopper": _ReleasedAt(), "item": _ReleasedAt()}
        self._merges: dict[int, int] = {}

    def add(self, shopper: Rows, item: Rows, at_ms: Times, bought: NDArray[np.bool_]) -> None:
        """Add n views or purchases, in arrival order."""
        n, limit = len(shopper), self._limit
        if not limit or not n:
            return
        self._released["shopper"].ensure_rows(int(shopper.max()) + 1)
        self._released["item"].ensure_rows(int(item.max()) + 1)
        last = slice(max(0, n - limit), n)
        slots = (self._next + np.arange(n)[last]) % limit
        self._rows = max(self._rows, int(slots.max()) + 1)
        self._dirty_rows.ensure_rows(self._rows)
        self._dirty_rows.mark(slots)
        new: dict[str, NDArray[Any]] = {
            "item": item,
            "shopper": shopper,
            "at_ms": at_ms,
            "bought": bought,
        }
        for name, values in new.items():
            self._columns[name] = column = grow(self._columns[name], self._rows, 0)
            column[slots] = values[last]
        self._next = int((self._next + n) % limit)

    def lookup(self, items: Rows) -> ViewLookup:
        """The views of some items, in one pass over all views."""
        self._apply_merges()
        self._released["item"].ensure_rows(int(items.max(initial=-1)) + 1)
        wanted = np.zeros(len(self._released["item"].at_ms), np.bool_)
        wanted[items] = True
        view_rows = np.flatnonzero(wanted[self._column("item")])
        item, shopper, at_ms, bought = (self._column(name)[view_rows] for name in self._columns)
        since_ms = np.maximum(
            self._released["shopper"].at_ms[shopper], self._released["item"].at_ms[item]
        )
        valid = np.flatnonzero(at_ms > since_ms)
        order = valid[item[valid].argsort(kind="stable")]
        return ViewLookup(item[order], shopper[order], at_ms[order], bought[order])

    def reassign(self, old: int, new: int) -> None:
        """Give the views of a shopper to the shopper it was merged into."""
        self._merges[old] = new

    def _apply_merges(self) -> None:
        """Reassign the views of merged shoppers: a pass over all views, so only before they are read."""
        if not self._merges or not self._rows:
            return
        old, new = (np.fromiter(rows, np.int32) for rows in (self._merges, self._merges.values()))
        self._merges.clear()
        self._released["shopper"].ensure_rows(int(max(old.max(), new.max())) + 1)
        released_ms = self._released["shopper"].at_ms
        merged_into = np.full(len(released_ms), NO_ROW, np.int32)
        merged_into[old] = new
        shopper = self._column("shopper")
        view_rows = np.flatnonzero(merged_into[shopper] != NO_ROW)
        view_rows = view_rows[self._column("at_ms")[view_rows] > released_ms[shopper[view_rows]]]
        shopper[view_rows] = merged_into[shopper[view_rows]]
        self._dirty_rows.mark(view_rows)

    def release(self, kind: str, rows: Rows, now_ms: int) -> None:
        """Release rows of shoppers or items (`kind`): views until now belong to nobody."""
        if len(rows):
            self._apply_merges()
            self._released[kind].release(rows, now_ms)

    def tables(self) -> Sequence[Table]:
        """The views, and when rows were released."""
        self._apply_merges()
        views = {name: self._column(name) for name in self._columns}
        released = (released_at.table(kind) for kind, released_at in self._released.items())
        return [Table(views, self._dirty_rows), *released]

    def scalars(self) -> Arrays:
        """The slot of the next view."""
        return {"next": np.array([self._next], np.int64)}

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave; earlier releases stored no views.

        A full ring continues at its end if the limit is larger now. A ring beyond the limit keeps its
        size.
        """
        if "next" not in arrays:
            return
        for name, column in self._columns.items():
            self._columns[name] = arrays[name].astype(column.dtype)
        self._rows = len(self._columns["item"])
        if self._limit:
            self._limit = max(self._limit, self._rows)
            has_room = self._rows < self._limit
            self._next = self._rows if has_room else int(arrays["next"][0]) % self._limit
        self._dirty_rows = DirtyRows(self._rows)
        for kind, released_at in self._released.items():
            released_at.restore(arrays, kind)

    def _column(self, name: str) -> NDArray[Any]:
        return self._columns[name][: self._rows]


class ViewLookup(NamedTuple):
    """Views of some items, sorted by item; columns as in `RecentViews`."""

    item: Rows
    shopper: Rows
    at_ms: Times
    bought: NDArray[np.bool_]

    def viewers_of(self, item: int, after_ms: int, before_ms: int, limit: int) -> Rows:
        """The last `limit` shoppers who viewed an item in a span of time and have not bought it."""
        low, high = np.searchsorted(self.item, (item, item + 1))
        viewers, times = self.shopper[low:high], self.at_ms[low:high]
        recent = times > after_ms
        buyers = viewers[recent & self.bought[low:high]]
        chosen = recent & (times < before_ms) & ~np.isin(viewers, buyers)
        viewers, times = viewers[chosen], times[chosen]
        order = np.lexsort((viewers, -times))
        _, first = np.unique(viewers[order], return_index=True)
        newest: Rows = viewers[order][np.sort(first)][:limit]
        return newest


class _ReleasedAt:
    """When each row was last released, at_ms int64[rows]."""

    def __init__(self) -> None:
        self.at_ms: Times = np.empty(0, np.int64)
        self._rows = 0
        self._dirty_rows = DirtyRows()

    def ensure_rows(self, rows: int) -> None:
        if rows > self._rows:
            self.at_ms = grow(self.at_ms, rows, NEVER_SEEN_MS)
            self._dirty_rows.ensure_rows(rows)
            self._rows = rows

    def release(self, rows: Rows, now_ms: int) -> None:
        rows = rows[(rows >= 0) & (rows < self._rows)]
        self.at_ms[rows] = now_ms
        self._dirty_rows.mark(rows)

    def table(self, kind: str) -> Table:
        return Table({f"{kind}_left_ms": self.at_ms[: self._rows]}, self._dirty_rows)

    def restore(self, arrays: Arrays, kind: str) -> None:
        self.at_ms = arrays[f"{kind}_left_ms"].astype(np.int64)
        self._rows = len(self.at_ms)
        self._dirty_rows = DirtyRows(self._rows)
