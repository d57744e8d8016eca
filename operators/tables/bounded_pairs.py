"""One weight for each pair of a shopper and an item, in a table of bounded size.

The columns are stored; a row of the table is found by the shopper's row modulo the table's length.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.kernels.ranking.pairs import lookup_pairs
from operators.tables.array_ops import isin_rows, rank_in_run, run_starts
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.times import NEVER_SEEN_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times, Weights

ROWS_INITIAL = 64


class PairLookup(NamedTuple):
    """The pairs of the shoppers asked for, one shopper after another.

    starts int64[shoppers + 1]: where the pairs of each begin; item int32[n]; weight float32[n];
    at_ms int64[n]: when the pair was last added to.
    """

    starts: NDArray[np.int64]
    item: Rows
    weight: Weights
    at_ms: Times

    @property
    def query(self) -> NDArray[np.intp]:
        """The position of the shopper of each pair in the request."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


class BoundedPairs(TableState):
    """At most about `limit` pairs. A weight halves in `half_life_ms`; 0: it never decays.

    One row of the table holds `ways` pairs, of one shopper or of several. A new pair in a full row
    replaces the pair that was added to longest ago. While the table may grow and is half full, its
    rows double.

    shopper int32[rows, ways], item int32, weight float32, at_ms int64: 20 bytes a pair.
    """

    def __init__(self, limit: int, *, ways: int = 16, half_life_ms: int = 0) -> None:
        self.ways = ways
        self.half_life_ms = half_life_ms
        # A power of two, so that the pairs of a row go to two rows when rows double.
        self.rows_max = 1 << max(0, (limit // ways).bit_length() - 1)
        self._rows = min(ROWS_INITIAL, self.rows_max)
        self._columns = _empty(self._rows, ways)
        self._count = 0
        self._dirty_rows = DirtyRows(self._rows)

    def __len__(self) -> int:
        return self._count

    def add(self, shopper: Rows, item: Rows, weight: Weights, at_ms: Times) -> None:
        """Add weights to n pairs; pairs may repeat."""
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
        """The pairs of shoppers, with weights as of one time each."""
        return self._lookup(shopper, now_ms, self.half_life_ms)

    def _lookup(self, shopper: Rows, now_ms: Times, half_life_ms: int) -> PairLookup:
        """The pairs of shoppers; with a half-life of 0, with weights as of the time of each pair."""
        n, columns = len(shopper), self._columns
        if not self._count:
            return _no_pairs(n)
        most, starts = n * self.ways, np.empty(n + 1, np.int64)
        item, weight, at_ms = (np.empty(most, _TYPES[name]) for name in ("item", "weight", "at_ms"))
        count = lookup_pairs(
            shopper,
            now_ms,
            columns["shopper"],
            columns["item"],
            columns["weight"],
            columns["at_ms"],
            half_life_ms,
            starts,
            item,
            weight,
            at_ms,
        )
        return PairLookup(starts, item[:count], weight[:count], at_ms[:count])

    def get(self, shopper: Rows, item: Rows) -> tuple[Weights, Times]:
        """The weight of each of n pairs as of its time, 0 for none, and that time."""
        row = self._row_of(shopper)
        is_present, way = self._locate(row, shopper, item)
        weight = np.where(is_present, self._columns["weight"][row, way], 0)
        return weight, np.where(is_present, self._columns["at_ms"][row, way], NEVER_SEEN_MS)

    def remove(self, shopper: Rows, item: Rows) -> None:
        """Remove n pairs."""
        row = self._row_of(shopper)
        is_present, way = self._locate(row, shopper, item)
        self._clear(row[is_present], way[is_present])

    def merge(self, row: int, into: int) -> None:
        """Move all pairs of a row to the row it was merged into; NO_ROW: erase them."""
        rows = np.array([row], np.int32)
        pairs = self._lookup(rows, np.zeros(1, np.int64), 0)
        self.remove_shoppers(rows)
        if into != NO_ROW:
            owners = np.full(len(pairs.item), into, np.int32)
            self.add(owners, pairs.item, pairs.weight, pairs.at_ms)

    def remove_shoppers(self, rows: Rows) -> None:
        """Remove all pairs of these shoppers."""
        rows = rows[rows >= 0]
        row = self._row_of(rows)
        index, way = np.nonzero(self._columns["shopper"][row] == rows[:, None])
        self._clear(row[index], way)

    def remove_items(self, rows: Rows) -> None:
        """Remove all pairs with these items: a sweep over the whole table."""
        row, way = np.nonzero(isin_rows(self._columns["item"], rows))
        self._clear(row, way)

    def tables(self) -> Sequence[Table]:
        """The pairs."""
        return [Table(self._columns, self._dirty_rows)]

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave. A table that is larger than the limit now keeps its size."""
        self._columns = {name: arrays[name].astype(kind) for name, kind in _TYPES.items()}
        self._rows, self.ways = self._columns["shopper"].shape
        self._count = int(np.count_nonzero(self._columns["shopper"] >= 0))
        self._dirty_rows = DirtyRows(self._rows)

    def _add_distinct(self, shopper: Rows, item: Rows, gain: Weights, at_ms: Times) -> None:
        """Add weights to pairs, each pair once."""
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
        # The newest of the new pairs of a row replace the pairs that were added to longest ago.
        new = new[np.lexsort((-at_ms[new], row[new]))]
        rank = rank_in_run(row[new])
        fits = rank < self.ways
        new, rank = new[fits], rank[fits]
        oldest = columns["at_ms"][row[new]].argsort(axis=1, kind="stable")
        cells = row[new], oldest[np.arange(len(new)), rank]
        self._count += int(np.count_nonzero(columns["shopper"][cells] == NO_ROW))
        added: dict[str, NDArray[Any]] = {
            "shopper": shopper,
            "item": item,
            "weight": gain,
            "at_ms": at_ms,
        }
        for name, values in added.items():
            columns[name][cells] = values[new]
        self._dirty_rows.mark(cells[0])

    def _locate(
        self, row: NDArray[np.intp], shopper: Rows, item: Rows
    ) -> tuple[NDArray[np.bool_], NDArray[np.intp]]:
        """Whether each pair is in its row of the table, and in which way."""
        matches = self._columns["shopper"][row] == shopper[:, None]
        matches &= self._columns["item"][row] == item[:, None]
        return matches.any(axis=1), matches.argmax(axis=1)

    def _ensure_free(self, added: int) -> None:
        """Double the rows until half of the table is free after `added` more pairs, or it is largest."""
        while 2 * (self._count + added) > self._rows * self.ways and self._rows < self.rows_max:
            rows = min(2 * self._rows, self.rows_max)
            previous = self._columns
            row, way = np.nonzero(previous["shopper"] >= 0)
            self._columns, self._rows = _empty(rows, self.ways), rows
            self._dirty_rows.ensure_rows(rows)
            self._dirty_rows.mark_all()
            target = self._row_of(previous["shopper"][row, way])
            # A stable sort: the pairs of a row keep their order.
            order = target.argsort(kind="stable")
            target = target[order]
            rank = rank_in_run(target)
            for name, column in previous.items():
                self._columns[name][target, rank] = column[row[order], way[order]]

    def _clear(self, row: NDArray[np.intp], way: NDArray[np.intp]) -> None:
        # A cell may be given twice, and may be empty.
        cells = np.unique(row * self.ways + way)
        self._count -= int(np.count_nonzero(self._columns["shopper"].ravel()[cells] >= 0))
        for name, column in self._columns.items():
            column[row, way] = _FILLS[name]
        self._dirty_rows.mark(row)

    def _row_of(self, shopper: Rows) -> NDArray[np.intp]:
        return np.asarray(shopper, np.intp) % self._rows

    def _decay(self, age_ms: Times) -> Weights | float:
        """The share of a weight that is left after a time."""
        if not self.half_life_ms:
            return 1.0
        return np.exp2(-np.maximum(age_ms, 0) / self.half_life_ms).astype(np.float32)


_FILLS = {"shopper": NO_ROW, "item": NO_ROW, "weight": 0, "at_ms": NEVER_SEEN_MS}
_TYPES = {"shopper": np.int32, "item": np.int32, "weight": np.float32, "at_ms": np.int64}


def _no_pairs(shoppers: int) -> PairLookup:
    columns = (np.empty(0, _TYPES[name]) for name in ("item", "weight", "at_ms"))
    return PairLookup(np.zeros(shoppers + 1, np.int64), *columns)


def _empty(rows: int, ways: int) -> dict[str, NDArray[Any]]:
    return {name: np.full((rows, ways), fill, _TYPES[name]) for name, fill in _FILLS.items()}
