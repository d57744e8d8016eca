"""What is remembered of a shopper and an item: one weight a pair, in a table of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.tables.table import Table, TableState
from operators.tables.top_partners import isin_rows, run_starts
from state.dirty_rows import DirtyRows
from state.interactions import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Rows, Times, Weights

NEVER_SEEN_MS = np.iinfo(np.int64).min
ROWS_INITIAL = 64


class PairLookup(NamedTuple):
    """Pairs of some shoppers: `query` is the position of the shopper among those asked for, item,
    weight, when last."""

    query: NDArray[np.intp]
    item: Rows
    weight: Weights
    at_ms: Times


class BoundedPairs(TableState):
    """At most about `limit` pairs, `ways` of a shopper; a weight halves in `half_life_ms`, 0 for never.

    A shopper's pairs lie in one row of the table, beside those of few others; where it is full, the
    pair that was touched longest ago gives way. Rows double while the table may grow and is half full.

    shopper int32[rows, ways], item int32, weight float32, at_ms int64: 20 bytes a pair.
    """

    def __init__(self, limit: int, *, ways: int = 16, half_life_ms: int = 0) -> None:
        self.ways = ways
        self.half_life_ms = half_life_ms
        # A power of two, so that a row's pairs go to two when rows double.
        self.rows_max = 1 << max(0, (limit // ways).bit_length() - 1)
        self._rows = min(ROWS_INITIAL, self.rows_max)
        self._columns = _empty(self._rows, ways)
        self._count = 0
        self._dirty_rows = DirtyRows(self._rows)

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
        decayed = weight[order] * self._decay(np.repeat(newest_ms, count) - at_ms[order])
        gain = np.add.reduceat(decayed, starts).astype(np.float32)
        first = order[starts]
        self._add_distinct(shopper[first], item[first], gain, newest_ms)

    def lookup(self, shopper: Rows, now_ms: Times) -> PairLookup:
        """What is remembered of shoppers, as of a time each."""
        index, item, weight, at_ms = self._lookup_raw(shopper)
        decayed = weight * self._decay(now_ms[index] - at_ms)
        return PairLookup(index, item, np.asarray(decayed, np.float32), at_ms)

    def _lookup_raw(self, shopper: Rows) -> PairLookup:
        """The same with weights as they were last."""
        row, way = self._row_of(shopper), np.arange(self.ways)
        matches = (self._columns["shopper"][row] == shopper[:, None]) & (shopper >= 0)[:, None]
        index, way = np.nonzero(matches)
        row = row[index]
        item, weight, at_ms = (
            self._columns[name][row, way] for name in ("item", "weight", "at_ms")
        )
        return PairLookup(index, item, weight, at_ms)

    def get(self, shopper: Rows, item: Rows) -> tuple[Weights, Times]:
        """The weight of each of n pairs as it was last, 0 for none, and when that was."""
        row = self._row_of(shopper)
        is_present, way = self._locate(row, shopper, item)
        weight = np.where(is_present, self._columns["weight"][row, way], 0)
        return weight, np.where(is_present, self._columns["at_ms"][row, way], NEVER_SEEN_MS)

    def remove(self, shopper: Rows, item: Rows) -> None:
        """Forget pairs, n of them."""
        row = self._row_of(shopper)
        is_present, way = self._locate(row, shopper, item)
        self._clear(row[is_present], way[is_present])

    def merge_or_erase(self, shopper: int, merged_into: int) -> None:
        """A shopper is no more: what is remembered of it is remembered of the heir, if there is one."""
        rows = np.array([shopper], np.int32)
        pairs = self._lookup_raw(rows)
        self.remove_shoppers(rows)
        if merged_into != NO_ROW:
            owners = np.full(len(pairs.item), merged_into, np.int32)
            self.add(owners, pairs.item, pairs.weight, pairs.at_ms)

    def remove_shoppers(self, rows: Rows) -> None:
        """Nothing is remembered of these shoppers."""
        rows = rows[rows >= 0]
        row = self._row_of(rows)
        index, way = np.nonzero(self._columns["shopper"][row] == rows[:, None])
        self._clear(row[index], way)

    def remove_items(self, rows: Rows) -> None:
        """Nothing is remembered of these items: a sweep over the whole table."""
        row, way = np.nonzero(isin_rows(self._columns["item"], rows))
        self._clear(row, way)

    def tables(self) -> Sequence[Table]:
        """The pairs."""
        return [Table(self._columns, self._dirty_rows)]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave; a table that is larger than it may be stays."""
        self._columns = {name: arrays[name].astype(kind) for name, kind in _TYPES.items()}
        self._rows, self.ways = self._columns["shopper"].shape
        self._count = int(np.count_nonzero(self._columns["shopper"] >= 0))
        self._dirty_rows = DirtyRows(self._rows)

    def _add_distinct(self, shopper: Rows, item: Rows, gain: Weights, at_ms: Times) -> None:
        """Add to pairs, each once."""
        self._ensure_free(len(shopper))
        columns, row = self._columns, self._row_of(shopper)
        is_present, way = self._locate(row, shopper, item)
        cells = row[is_present], way[is_present]
        previous_ms = columns["at_ms"][cells]
        newest_ms = np.maximum(previous_ms, at_ms[is_present])
        columns["weight"][cells] *= self._decay(newest_ms - previous_ms)
        columns["weight"][cells] += gain[is_present] * self._decay(newest_ms - at_ms[is_present])
        columns["at_ms"][cells] = newest_ms
        self._dirty_rows.mark(row[is_present])
        new = np.flatnonzero(~is_present)
        if not len(new):
            return
        # The newest of a row's newcomers take the places touched longest ago.
        new = new[np.lexsort((-at_ms[new], row[new]))]
        first = run_starts(row[new])
        rank = np.arange(len(new)) - np.repeat(first, np.diff(first, append=len(new)))
        fits = rank < self.ways
        new, rank = new[fits], rank[fits]
        oldest = columns["at_ms"][row[new]].argsort(axis=1, kind="stable")
        cells = row[new], oldest[np.arange(len(new)), rank]
        self._count += int(np.count_nonzero(columns["shopper"][cells] == NO_ROW))
        for name, values in (
            ("shopper", shopper),
            ("item", item),
            ("weight", gain),
            ("at_ms", at_ms),
        ):
            columns[name][cells] = values[new]
        self._dirty_rows.mark(cells[0])

    def _locate(
        self, row: NDArray[np.intp], shopper: Rows, item: Rows
    ) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Whether each pair is in its row of the table, and where."""
        matches = self._columns["shopper"][row] == shopper[:, None]
        matches &= self._columns["item"][row] == item[:, None]
        return matches.any(axis=1), matches.argmax(axis=1)

    def _ensure_free(self, added: int) -> None:
        """Double the rows until so many more leave half of the table free, if they may."""
        while 2 * (self._count + added) > self._rows * self.ways and self._rows < self.rows_max:
            rows = min(2 * self._rows, self.rows_max)
            previous = self._columns
            row, way = np.nonzero(previous["shopper"] >= 0)
            self._columns, self._rows = _empty(rows, self.ways), rows
            self._dirty_rows.ensure_rows(rows)
            self._dirty_rows.mark_all()
            target = self._row_of(previous["shopper"][row, way])
            # Sorted by where they go, those of a row of old come in the order they had.
            order = target.argsort(kind="stable")
            target = target[order]
            first = run_starts(target)
            rank = np.arange(len(target)) - np.repeat(first, np.diff(first, append=len(target)))
            for name, column in previous.items():
                self._columns[name][target, rank] = column[row[order], way[order]]

    def _clear(self, row: NDArray[np.intp], way: NDArray[np.intp]) -> None:
        # A pair may come twice, and an empty place too.
        cells = np.unique(row * self.ways + way)
        self._count -= int(np.count_nonzero(self._columns["shopper"].ravel()[cells] >= 0))
        for name, column in self._columns.items():
            column[row, way] = _FILLS[name]
        self._dirty_rows.mark(row)

    def _row_of(self, shopper: Rows) -> NDArray[np.intp]:
        return np.asarray(shopper, np.intp) % self._rows

    def _decay(self, age_ms: Times) -> Weights | float:
        """What is left of a weight after a time."""
        if not self.half_life_ms:
            return 1.0
        return np.exp2(-np.maximum(age_ms, 0) / self.half_life_ms).astype(np.float32)


_FILLS = {"shopper": NO_ROW, "item": NO_ROW, "weight": 0, "at_ms": NEVER_SEEN_MS}
_TYPES = {"shopper": np.int32, "item": np.int32, "weight": np.float32, "at_ms": np.int64}


def _empty(rows: int, ways: int) -> dict[str, NDArray[Any]]:
    return {name: np.full((rows, ways), fill, _TYPES[name]) for name, fill in _FILLS.items()}
