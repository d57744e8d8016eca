"""What learners learn from and answer with: columns, so that a batch is a few array operations.

Shoppers and items are rows of two `RowIndex`es that all learners of a recommender share. `ItemCard` is
stored; the other classes exist in memory only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import numpy as np

from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from state.arrays import Rows, Times, Weights

VIEW, CART, PURCHASE = 0, 1, 2
"""Kinds of interaction."""


class ChangedIds(NamedTuple):
    """The ids of some rows of an index of `length` rows; "" for a free row."""

    length: int
    rows: list[int]
    ids: list[str]


class RowIndex:
    """Maps ids to dense rows and back. Rows are given in the order in which ids are first seen.

    The row of a removed id is free: `ids` holds "" there, and the next new id gets the lowest free row.

    >>> index = RowIndex(); add = index.get_or_add
    >>> add("mug"), add("cup"), add("mug"), index.get("pot")
    (0, 1, 0, -1)
    >>> index.remove(np.array([0])); add("pot"), index.get("mug"), index.take_reused_rows()
    (0, -1, [0])
    """

    __slots__ = ("_changed", "_free", "_reused", "dirty_rows", "ids", "row_by_id")

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.restore(ids)

    def restore(self, ids: Iterable[str]) -> None:
        """Replace the content by stored `ids`."""
        self.ids: list[str] = list(ids)
        self.row_by_id: dict[str, int] = {name: row for row, name in enumerate(self.ids) if name}
        self.dirty_rows = DirtyRows(len(self.ids))
        self._free = [row for row, name in enumerate(self.ids) if not name][::-1]
        self._reused: set[int] = set()
        self._changed: list[int] | None = None

    def __len__(self) -> int:
        """The number of rows, free ones included."""
        return len(self.ids)

    def get_or_add(self, name: str) -> int:
        """The row of an id, a new one if the id is new."""
        row = self.row_by_id.get(name)
        if row is None:
            if self._free:
                row = self.row_by_id[name] = self._free.pop()
                self.ids[row] = name
                self.dirty_rows.mark(row)
                self._reused.add(row)
            else:
                row = self.row_by_id[name] = len(self.ids)
                self.ids.append(name)
            if self._changed is not None:
                self._changed.append(row)
        return row

    def remove(self, rows: Rows) -> None:
        """Remove the ids of these distinct rows; the rows are free then."""
        for row in rows.tolist():
            del self.row_by_id[self.ids[row]]
            self.ids[row] = ""
        self._free = sorted([*self._free, *rows.tolist()], reverse=True)
        self.dirty_rows.ensure_rows(len(self.ids))
        self.dirty_rows.mark(rows)
        if self._changed is not None:
            self._changed += rows.tolist()

    def live_rows(self) -> Rows:
        """The rows that have an id, ascending."""
        return np.sort(np.fromiter(self.row_by_id.values(), np.int32, len(self.row_by_id)))

    def take_reused_rows(self) -> list[int]:
        """The free rows that were given to another id since the last call."""
        reused, self._reused = self._reused, set()
        return sorted(reused)

    def take_changes(self) -> ChangedIds:
        """The rows whose ids changed since the last call, for a replica; at first all of them."""
        changed, self._changed = self._changed, []
        rows = range(len(self.ids)) if changed is None else sorted(set(changed))
        return ChangedIds(len(self.ids), list(rows), [self.ids[row] for row in rows])

    def write(self, changes: ChangedIds) -> None:
        """Write what `take_changes` gave over this replica, which never gives rows itself.

        >>> index, replica = RowIndex(("mug", "cup")), RowIndex()
        >>> replica.write(index.take_changes()); index.remove(np.array([0])); index.get_or_add("pot")
        0
        >>> replica.write(index.take_changes()); replica.ids, replica.get("mug"), replica.get("pot")
        (['pot', 'cup'], -1, 0)
        """
        known = len(self.ids)
        self.ids += [""] * (changes.length - known)
        # Old ids first: an id may have moved to another row.
        for row in changes.rows:
            self.row_by_id.pop(self.ids[row], None)
        for row, name in zip(changes.rows, changes.ids, strict=True):
            self.ids[row] = name
            if name:
                self.row_by_id[name] = row
                if row < known:
                    self._reused.add(row)

    def get_or_add_many(self, names: Sequence[str]) -> Rows:
        """The rows of many ids, int32[n], new ones for new ids."""
        rows = list(map(self.row_by_id.get, names))
        if None in rows:
            for index, row in enumerate(rows):
                if row is None:
                    rows[index] = self.get_or_add(names[index])
        return np.array(rows, np.int32)

    def get(self, name: str) -> int:
        """The row of an id, or NO_ROW. Reading never adds a row."""
        return self.row_by_id.get(name, NO_ROW)


class ItemCard(msgspec.Struct, gc=False, array_like=True):
    """What is known of an item, as of an event time. Stored by position: append fields only."""

    at_ms: int
    name: str | None = None
    category: tuple[str, ...] = ()
    brand: str | None = None
    price: float | None = None
    currency: str = ""
    available: bool | None = None
    url: str = ""
    image_url: str = ""


@dataclass(slots=True)
class EventColumns:
    """A batch of what shoppers did with items, n long, in arrival order.

    `kinds`: VIEW, CART or PURCHASE. `weights`: how much each counts. `session_start_ms`: start of the
    session of each event. `categories`, `segments`, `countries`: the scopes of popularity in which the
    event counts, None for none. `cards`: the cards of all items; `changed_items`: the items whose
    card changed.
    """

    shoppers: Sequence[str]
    items: Sequence[str]
    kinds: Sequence[int] | NDArray[np.integer]
    weights: Sequence[float] | NDArray[np.floating]
    at_ms: Sequence[int] | NDArray[np.integer]
    session_start_ms: Sequence[int] | NDArray[np.integer]
    categories: Sequence[str | None]
    segments: Sequence[str | None]
    cards: Mapping[str, ItemCard] = field(default_factory=dict)
    changed_items: Sequence[str] = ()
    countries: Sequence[str | None] = ()


@dataclass(slots=True)
class Interactions:
    """One batch in arrival order, n rows. A shopper may occur several times.

    shopper int32[n], item int32[n]  rows of the row indexes
    kind int8[n]                     VIEW, CART, PURCHASE
    weight float32[n]                how much it counts: from the configuration, by event type
    at_ms int64[n]                   event time
    context int32[n, r]              items of the same session before this one, newest first,
                                     NO_ROW-padded; repeats of an item are kept
    """

    shopper: Rows
    item: Rows
    kind: NDArray[np.int8]
    weight: Weights
    at_ms: Times
    context: Rows

    def __len__(self) -> int:
        return len(self.shopper)


@dataclass(slots=True)
class ListRequests:
    """Shoppers for whom a list is wanted now, n rows.

    shopper int32[n]         row, or NO_ROW for a shopper never seen
    context int32[n, r]      items of the running session, newest first, NO_ROW-padded
    now_ms int64[n]          event time for which the list is made
    candidates int32[n, m]   candidates of the other learners, for rerankers; an item may repeat,
                             NO_ROW-padded anywhere; no columns for all other learners
    """

    shopper: Rows
    context: Rows
    now_ms: Times
    candidates: Rows = field(default_factory=lambda: np.empty((0, 0), np.int32))

    def __post_init__(self) -> None:
        if not self.candidates.size:
            self.candidates = np.empty((len(self.shopper), 0), np.int32)

    def __len__(self) -> int:
        return len(self.shopper)

    def subset(self, rows: slice | NDArray[np.integer]) -> ListRequests:
        """The requests of some rows."""
        return ListRequests(
            self.shopper[rows], self.context[rows], self.now_ms[rows], self.candidates[rows]
        )


@dataclass(slots=True)
class ScoredLists:
    """Answers to `ListRequests`, best first, n rows of at most k items, NO_ROW-padded at the end.

    item int32[n, k]
    score float32[n, k]         does not rise along a row; any scale of the learner's own
    reason_item int32[n, k]     the item because of which it is listed, or NO_ROW if it is not one item
    """

    item: Rows
    score: Weights
    reason_item: Rows


def empty_lists(n: int, k: int) -> ScoredLists:
    """Lists without items."""
    return ScoredLists(
        np.full((n, k), NO_ROW, np.int32),
        np.zeros((n, k), np.float32),
        np.full((n, k), NO_ROW, np.int32),
    )
