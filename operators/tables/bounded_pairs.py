"""What is remembered of a shopper and an item: one weight a pair, in a table of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.tables.table import Kept, Table
from operators.tables.top_partners import among, run_starts
from state.dirty_rows import Marks
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Rows, Times, Weights

LONG_AGO_MS = np.iinfo(np.int64).min
ROWS_FIRST = 64


class Found(NamedTuple):
    """Pairs of some shoppers: `place` of the shopper among those asked for, item, weight, when last."""

    place: NDArray[np.intp]
    item: Rows
    weight: Weights
    at_ms: Times


class Pairs(Kept):
    """At most about `most` pairs, `ways` of a shopper; a weight halves in `half_life_ms`, 0 for never.

    A shopper's pairs lie in one row of the table, beside those of few others; where it is full, the
    pair that was touched longest ago gives way. Rows double while the table may grow and is half full.

    shopper int32[rows, ways], item int32, weight float32, at_ms int64: 20 bytes a pair.
    """

    def __init__(self, most: int, *, ways: int = 16, half_life_ms: int = 0) -> None:
        self.ways = ways
        self.half_life_ms = half_life_ms
        # A power of two, so that a row's pairs go to two when rows double.
        self.rows_max = 1 << max(0, (most // ways).bit_length() - 1)
        self._rows = min(ROWS_FIRST, self.rows_max)
        self._columns = _empty(self._rows, ways)
        self._count = 0
        self._marks = Marks(self._rows)

    def __len__(self) -> int:
        return self._count

    def add(self, shopper: Rows, item: Rows, weight: Weights, at_ms: Times) -> None:
        """Add weights to pairs, n of them, repeats allowed."""
        if not len(shopper):
            return
        key = shopper.astype(np.int64) << 32 | item
        order = key.argsort(kind="stable")
        starts = run_starts(key[order])
        newest_ms = np.maximum.reduceat(at_ms[order], starts)
        count = np.diff(starts, append=len(order))
        faded = weight[order] * self._share(np.repeat(newest_ms, count) - at_ms[order])
        gain = np.add.reduceat(faded, starts).astype(np.float32)
        first = order[starts]
        self._put(shopper[first], item[first], gain, newest_ms)

    def of(self, shopper: Rows, now_ms: Times) -> Found:
        """What is remembered of shoppers, as of a time each."""
        place, item, weight, at_ms = self._of(shopper)
        faded = weight * self._share(now_ms[place] - at_ms)
        return Found(place, item, np.asarray(faded, np.float32), at_ms)

    def _of(self, shopper: Rows) -> Found:
        """The same with weights as they were last."""
        row, way = self._row(shopper), np.arange(self.ways)
        theirs = (self._columns["shopper"][row] == shopper[:, None]) & (shopper >= 0)[:, None]
        place, way = np.nonzero(theirs)
        row = row[place]
        item, weight, at_ms = (
            self._columns[name][row, way] for name in ("item", "weight", "at_ms")
        )
        return Found(place, item, weight, at_ms)

    def find(self, shopper: Rows, item: Rows) -> tuple[Weights, Times]:
        """The weight of each of n pairs as it was last, 0 for none, and when that was."""
        row = self._row(shopper)
        there, way = self._find(row, shopper, item)
        weight = np.where(there, self._columns["weight"][row, way], 0)
        return weight, np.where(there, self._columns["at_ms"][row, way], LONG_AGO_MS)

    def drop(self, shopper: Rows, item: Rows) -> None:
        """Forget pairs, n of them."""
        row = self._row(shopper)
        there, way = self._find(row, shopper, item)
        self._clear(row[there], way[there])

    def leave(self, shopper: int, heir: int) -> None:
        """A shopper is no more: what is remembered of it is remembered of the heir, if there is one."""
        who = np.array([shopper], np.int32)
        found = self._of(who)
        self.forget_shoppers(who)
        if heir != NOBODY:
            heirs = np.full(len(found.item), heir, np.int32)
            self.add(heirs, found.item, found.weight, found.at_ms)

    def forget_shoppers(self, rows: Rows) -> None:
        """Nothing is remembered of these shoppers."""
        rows = rows[rows >= 0]
        row = self._row(rows)
        place, way = np.nonzero(self._columns["shopper"][row] == rows[:, None])
        self._clear(row[place], way)

    def forget_items(self, rows: Rows) -> None:
        """Nothing is remembered of these items: a sweep over the whole table."""
        row, way = np.nonzero(among(self._columns["item"], rows))
        self._clear(row, way)

    def tables(self) -> Sequence[Table]:
        """The pairs."""
        return [Table(self._columns, self._marks)]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave; a table that is larger than it may be stays."""
        self._columns = {name: arrays[name].astype(kind) for name, kind in _TYPES.items()}
        self._rows, self.ways = self._columns["shopper"].shape
        self._count = int(np.count_nonzero(self._columns["shopper"] >= 0))
        self._marks = Marks(self._rows)

    def _put(self, shopper: Rows, item: Rows, gain: Weights, at_ms: Times) -> None:
        """Add to pairs, each once."""
        self._grow(len(shopper))
        columns, row = self._columns, self._row(shopper)
        there, way = self._find(row, shopper, item)
        at = row[there], way[there]
        before_ms = columns["at_ms"][at]
        newest_ms = np.maximum(before_ms, at_ms[there])
        columns["weight"][at] *= self._share(newest_ms - before_ms)
        columns["weight"][at] += gain[there] * self._share(newest_ms - at_ms[there])
        columns["at_ms"][at] = newest_ms
        self._marks.mark(row[there])
        new = np.flatnonzero(~there)
        if not len(new):
            return
        # The newest of a row's newcomers take the places touched longest ago.
        new = new[np.lexsort((-at_ms[new], row[new]))]
        first = run_starts(row[new])
        rank = np.arange(len(new)) - np.repeat(first, np.diff(first, append=len(new)))
        fits = rank < self.ways
        new, rank = new[fits], rank[fits]
        oldest = columns["at_ms"][row[new]].argsort(axis=1, kind="stable")
        at = row[new], oldest[np.arange(len(new)), rank]
        self._count += int(np.count_nonzero(columns["shopper"][at] == NOBODY))
        for name, values in (
            ("shopper", shopper),
            ("item", item),
            ("weight", gain),
            ("at_ms", at_ms),
        ):
            columns[name][at] = values[new]
        self._marks.mark(at[0])

    def _find(
        self, row: NDArray[np.intp], shopper: Rows, item: Rows
    ) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Whether each pair is in its row of the table, and where."""
        there = self._columns["shopper"][row] == shopper[:, None]
        there &= self._columns["item"][row] == item[:, None]
        return there.any(axis=1), there.argmax(axis=1)

    def _grow(self, more: int) -> None:
        """Double the rows until so many more leave half of the table free, if they may."""
        while 2 * (self._count + more) > self._rows * self.ways and self._rows < self.rows_max:
            rows = min(2 * self._rows, self.rows_max)
            kept = self._columns
            row, way = np.nonzero(kept["shopper"] >= 0)
            self._columns, self._rows = _empty(rows, self.ways), rows
            self._marks.reach(rows)
            self._marks.mark_all()
            to = self._row(kept["shopper"][row, way])
            # Sorted by where they go, those of a row of old come in the order they had.
            order = to.argsort(kind="stable")
            to = to[order]
            first = run_starts(to)
            rank = np.arange(len(to)) - np.repeat(first, np.diff(first, append=len(to)))
            for name, column in kept.items():
                self._columns[name][to, rank] = column[row[order], way[order]]

    def _clear(self, row: NDArray[np.intp], way: NDArray[np.intp]) -> None:
        # A pair may come twice, and an empty place too.
        place = np.unique(row * self.ways + way)
        self._count -= int(np.count_nonzero(self._columns["shopper"].ravel()[place] >= 0))
        for name, column in self._columns.items():
            column[row, way] = _FILLS[name]
        self._marks.mark(row)

    def _row(self, shopper: Rows) -> NDArray[np.intp]:
        return np.asarray(shopper, np.intp) % self._rows

    def _share(self, age_ms: Times) -> Weights | float:
        """What is left of a weight after a time."""
        if not self.half_life_ms:
            return 1.0
        return np.exp2(-np.maximum(age_ms, 0) / self.half_life_ms).astype(np.float32)


_FILLS = {"shopper": NOBODY, "item": NOBODY, "weight": 0, "at_ms": LONG_AGO_MS}
_TYPES = {"shopper": np.int32, "item": np.int32, "weight": np.float32, "at_ms": np.int64}


def _empty(rows: int, ways: int) -> dict[str, NDArray[Any]]:
    return {name: np.full((rows, ways), fill, _TYPES[name]) for name, fill in _FILLS.items()}
