"""What learners learn from and answer with: columns, so that a batch is a few array operations.

Shoppers and items are rows of two vocabularies that all learners of a recommender share.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from state.dirty_rows import Marks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    Rows = NDArray[np.int32]
    Weights = NDArray[np.float32]
    Times = NDArray[np.int64]

VIEW, CART, PURCHASE = 0, 1, 2
"""Kinds of interaction: looked at, put into the cart, bought."""

NOBODY = -1
"""Padding in columns of rows: no item, no shopper."""


class Vocabulary:
    """Ids to dense rows and back; rows are given in order of first sight.

    A row whose id was forgotten is free: "" stands in `ids`, and the next new id gets the lowest.

    >>> v = Vocabulary(); v.row("mug"), v.row("cup"), v.row("mug"), v.find("pot")
    (0, 1, 0, -1)
    >>> v.forget(np.array([0])); v.row("pot"), v.find("mug"), v.take_renamed()
    (0, -1, [0])
    """

    __slots__ = ("_free", "_renamed", "ids", "marks", "rows")

    def __init__(self, ids: Iterable[str] = ()) -> None:
        self.restore(ids)

    def restore(self, ids: Iterable[str]) -> None:
        """Take over what `ids` were, and nothing else."""
        self.ids: list[str] = list(ids)
        self.rows: dict[str, int] = {name: row for row, name in enumerate(self.ids) if name}
        self.marks = Marks(len(self.ids))
        self._free = [row for row, name in enumerate(self.ids) if not name][::-1]
        self._renamed: set[int] = set()

    def __len__(self) -> int:
        """How many rows there are, free ones too."""
        return len(self.ids)

    def row(self, name: str) -> int:
        """The row of an id, a new one if it was never seen."""
        row = self.rows.get(name)
        if row is None:
            if self._free:
                row = self.rows[name] = self._free.pop()
                self.ids[row] = name
                self.marks.mark(row)
                self._renamed.add(row)
            else:
                row = self.rows[name] = len(self.ids)
                self.ids.append(name)
        return row

    def forget(self, rows: Rows) -> None:
        """Free the rows of these ids, each once."""
        for row in rows.tolist():
            del self.rows[self.ids[row]]
            self.ids[row] = ""
        self._free = sorted([*self._free, *rows.tolist()], reverse=True)
        self.marks.reach(len(self.ids))
        self.marks.mark(rows)

    def live(self) -> Rows:
        """The rows that have an id, ascending."""
        return np.sort(np.fromiter(self.rows.values(), np.int32, len(self.rows)))

    def take_renamed(self) -> list[int]:
        """The free rows that were given to another id since last asked."""
        renamed, self._renamed = self._renamed, set()
        return sorted(renamed)

    def take(self, names: Sequence[str]) -> Rows:
        """The rows of many ids, int32[n], new ones for those never seen."""
        rows = list(map(self.rows.get, names))
        if None in rows:
            for at, row in enumerate(rows):
                if row is None:
                    rows[at] = self.row(names[at])
        return np.array(rows, np.int32)

    def find(self, name: str) -> int:
        """The row of an id, or NOBODY: a read never grows the vocabulary."""
        return self.rows.get(name, NOBODY)


class Card(msgspec.Struct, gc=False, array_like=True):
    """What is known of an item, as of an event time. Stored."""

    at_ms: int
    name: str | None = None
    category: tuple[str, ...] = ()
    brand: str | None = None
    price: float | None = None
    currency: str = ""
    available: bool | None = None


@dataclass(slots=True)
class Events:
    """A batch of what shoppers did with items, n long, in arrival order.

    `kinds` VIEW, CART or PURCHASE; `weights` how much each says; `session_start_ms` of the session
    each event belongs to; `categories`, `segments` and `countries` name the scopes of popularity it
    counts in, None for none. `cards` are those of all items, `changed` the items whose card did.
    """

    shoppers: Sequence[str]
    items: Sequence[str]
    kinds: Sequence[int] | NDArray[np.integer]
    weights: Sequence[float] | NDArray[np.floating]
    at_ms: Sequence[int] | NDArray[np.integer]
    session_start_ms: Sequence[int] | NDArray[np.integer]
    categories: Sequence[str | None]
    segments: Sequence[str | None]
    cards: Mapping[str, Card] = field(default_factory=dict)
    changed: Sequence[str] = ()
    countries: Sequence[str | None] = ()


@dataclass(slots=True)
class Interactions:
    """One batch in arrival order, n rows. A shopper may come several times.

    shopper int32[n], item int32[n]  rows of the vocabularies
    kind int8[n]                     VIEW, CART, PURCHASE
    weight float32[n]                how much it says: from config, by event type
    at_ms int64[n]                   event time
    context int32[n, r]              items of the same session before this one, newest first,
                                     NOBODY-padded; repeats of an item kept as they came
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
class Requests:
    """Shoppers for whom a list is wanted now, n rows.

    shopper int32[n]      row, or NOBODY for one never seen
    context int32[n, r]   items of the running session, newest first, NOBODY-padded
    now_ms int64[n]       event time at which the list will stand
    named int32[n, m]     what other learners named, an item perhaps several times, NOBODY-padded
                          anywhere; empty for those that are asked first
    """

    shopper: Rows
    context: Rows
    now_ms: Times
    named: Rows = field(default_factory=lambda: np.empty((0, 0), np.int32))

    def __post_init__(self) -> None:
        if not self.named.size:
            self.named = np.empty((len(self.shopper), 0), np.int32)

    def __len__(self) -> int:
        return len(self.shopper)

    def part(self, rows: slice | NDArray[np.integer]) -> Requests:
        """Some of them."""
        return Requests(self.shopper[rows], self.context[rows], self.now_ms[rows], self.named[rows])


@dataclass(slots=True)
class Lists:
    """Answers to `Requests`, best first, n rows of at most k items, NOBODY-padded at the end.

    item int32[n, k]; score float32[n, k], not rising along a row, any scale of the learner's own;
    because int32[n, k]: the item that put it there, or NOBODY where no single item did.
    """

    item: Rows
    score: Weights
    because: Rows


def empty_lists(n: int, k: int) -> Lists:
    """Lists with nothing in them."""
    return Lists(
        np.full((n, k), NOBODY, np.int32),
        np.zeros((n, k), np.float32),
        np.full((n, k), NOBODY, np.int32),
    )
