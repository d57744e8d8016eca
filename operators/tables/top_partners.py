"""Tables that keep, for each row, its heaviest partners under exponential decay.

The storage of every counting learner: an item and the items seen with it, a scope and the items
liked in it. Nothing here knows what a row means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from operators.tables.array_ops import ascending_order, descending_key
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows
from state.interactions import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Rows, Times, Weights

Cell = TypeVar("Cell", bound=np.generic)

ROWS_PER_SWEEP = 16_384
"""Rows swept together: a few MB in between, however long the table."""
DOUBLINGS_MAX = 64
"""Weights may grow by 2**64 before the clock is moved: float32 ends at 2**127."""


class DecayClock:
    """Forward decay: newer weights count for more, so that stored ones need no update.

    A weight given at time t is stored times 2**((t - origin) / half_life); ratios between stored
    weights are then those of exponentially decayed counts at any moment.
    Source: Cormode, Shkapenyuk, Srivastava and Xu, "Forward Decay", ICDE 2009.
    """

    __slots__ = ("half_life_ms", "newest_ms", "origin_ms")

    def __init__(self, half_life_ms: int) -> None:
        if half_life_ms < 1:
            raise ValueError(f"half_life_ms must be at least 1, got {half_life_ms}")
        self.half_life_ms = half_life_ms
        self.origin_ms: int | None = None
        self.newest_ms = 0

    def advance(self, at_ms: Times) -> int:
        """Move on to a batch; by how many doublings stored weights have to be divided (mostly 0)."""
        newest_ms = int(at_ms.max())
        if self.origin_ms is None:
            self.origin_ms = newest_ms
        self.newest_ms = max(self.newest_ms, newest_ms)
        doublings = (newest_ms - self.origin_ms) // self.half_life_ms
        if doublings <= DOUBLINGS_MAX:
            return 0
        self.origin_ms += doublings * self.half_life_ms
        return doublings

    def encode_scale(self, at_ms: Times) -> Weights:
        """What a weight of 1 at each time is stored as; `advance` first."""
        age = (at_ms - (self.origin_ms or 0)) / self.half_life_ms
        return np.exp2(age).astype(np.float32)

    def decode_scale(self, now_ms: int) -> float:
        """What a stored weight of 1 counts at a time."""
        return float(2.0 ** (((self.origin_ms or 0) - now_ms) / self.half_life_ms))

    def to_array(self) -> NDArray[np.int64]:
        """The origin, the half-life that weights were given with and the newest time of them; an empty
        array if there are none."""
        if self.origin_ms is None:
            return np.array([], np.int64)
        return np.array([self.origin_ms, self.half_life_ms, self.newest_ms], np.int64)

    def restore(self, stored: NDArray[np.int64]) -> None:
        """Take over what `arrays` gave; of a former release it was the origin alone.

        Where weights were given with another half-life, the origin moves: what they count at the newest
        of their times stays, and from there on it fades as is asked for now.
        """
        self.origin_ms, self.newest_ms = None, 0
        if not len(stored):
            return
        origin_ms = int(stored[0])
        if len(stored) == 1:
            self.origin_ms = self.newest_ms = origin_ms
            return
        half_life_ms, self.newest_ms = int(stored[1]), int(stored[2])
        age_ms = self.newest_ms - origin_ms
        self.origin_ms = self.newest_ms - round(age_ms * self.half_life_ms / half_life_ms)


def decay(weight: Weights, doublings: int) -> None:
    """Divide in place by 2**doublings: exact, so that moving the clock changes no order."""
    np.ldexp(weight, -min(doublings, 1000), out=weight)


class TopPartners(TableState):
    """At most `width` partners for each of a growing number of rows.

    partner int32[rows, width]   NO_ROW-padded, in no order
    weight float32[rows, width]  0 where there is no partner
    changed bool[rows]           since `take_changed`

    A full row makes room as Space-Saving does: a newcomer takes the lightest place and inherits
    its weight, so that a partner heavier than total/width is never missed. In a batch the
    heaviest newcomers meet the lightest places first and stop where they would push out better.
    Source: Metwally, Agrawal and El Abbadi, "Efficient computation of frequent and top-k elements
    in data streams", ICDT 2005.
    """

    def __init__(self, width: int, half_life_ms: int) -> None:
        if width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        self.width = width
        self.clock = DecayClock(half_life_ms)
        self.rows = 0
        self.partner: Rows = np.empty((0, width), np.int32)
        self.weight: Weights = np.empty((0, width), np.float32)
        self.changed: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._dirty_rows = DirtyRows()

    def add(self, row: Rows, partner: Rows, weight: Weights, at_ms: Times) -> None:
        """Add a weight for each pair, n of them, rows and partners at least 0, repeats allowed."""
        if not len(row):
            return
        if doublings := self.clock.advance(at_ms):
            decay(self.weight, doublings)
            self._dirty_rows.mark_all()
        bits = int(partner.max()).bit_length()
        pair = row.astype(np.int64) << bits | partner
        # Stable, so that equal pairs are summed in order of arrival on every machine.
        order = ascending_order(pair)
        pair = pair[order]
        starts = run_starts(pair)
        gain = np.add.reduceat((weight * self.clock.encode_scale(at_ms))[order], starts)
        row, partner = row[order[starts]], partner[order[starts]]
        self._ensure_rows(int(row[-1]) + 1)
        self.changed[row] = True
        self._dirty_rows.mark(row)
        matches = self.partner.take(row, axis=0) == partner[:, None]
        slot = matches.argmax(axis=1)
        is_present = matches[np.arange(len(row)), slot]
        self.weight[row[is_present], slot[is_present]] += gain[is_present]
        self._admit_newcomers(row[~is_present], partner[~is_present], gain[~is_present])

    def _admit_newcomers(self, row: Rows, partner: Rows, gain: Weights) -> None:
        """Newcomers, sorted by row, each at most once a row."""
        if not len(row):
            return
        order = ascending_order(row.astype(np.int64) << 32 | descending_key(gain))
        row, partner, gain = row[order], partner[order], gain[order]
        first = run_starts(row)
        count = np.diff(first, append=len(row))
        rank = np.arange(len(row)) - np.repeat(first, count)
        group = np.repeat(np.arange(len(first)), count)
        fits = rank < self.width
        row, partner, gain = row[fits], partner[fits], gain[fits]
        rank, group = rank[fits], group[fits]

        # Weight in the high bits, place in the low ones: one sort, and ties fall to the first place.
        bits = self.weight.take(row[rank == 0], axis=0).view(np.uint32).astype(np.int64)
        slots = np.sort(bits << 32 | np.arange(self.width), axis=1) & 0xFFFFFFFF
        slot = slots[group, rank]
        gain = gain + self.weight[row, slots[group, 0]]
        better = gain > self.weight[row, slot]
        row, slot = row[better], slot[better]
        self.partner[row, slot] = partner[better]
        self.weight[row, slot] = gain[better]

    def lookup(self, row: Rows) -> tuple[Rows, Weights]:
        """Partners and weights of rows of any shape; of none for rows beyond what was learned."""
        if not self.rows:
            shape = (*row.shape, self.width)
            return np.full(shape, NO_ROW, np.int32), np.zeros(shape, np.float32)
        known = (row >= 0) & (row < self.rows)
        safe = np.where(known, row, 0)
        partner, weight = self.partner.take(safe, axis=0), self.weight.take(safe, axis=0)
        partner[~known] = NO_ROW
        weight[~known] = 0
        return partner, weight

    def take_changed(self, limit: int | None = None, start: int = 0) -> Rows:
        """The rows touched since they were last taken, all or at most so many, in order of row.

        The first is the one that follows `start`, and after the last row comes row 0: whoever goes on
        behind the last one taken comes to all of them.
        """
        rows = np.flatnonzero(self.changed[: self.rows]).astype(np.int32)
        if limit is not None and len(rows) > limit:
            rows = np.roll(rows, -int(np.searchsorted(rows, start)))[:limit]
        self.changed[rows] = False
        self._dirty_rows.mark(rows)
        return rows

    def remove_rows(self, rows: Rows) -> None:
        """These rows never had a partner."""
        rows = rows[rows < self.rows]
        self.partner[rows], self.weight[rows], self.changed[rows] = NO_ROW, 0, False
        self._dirty_rows.mark(rows)

    def remove_partners(self, partners: Rows) -> None:
        """These were never anyone's partner: a sweep over the whole table."""
        for start in range(0, self.rows, ROWS_PER_SWEEP):
            part = slice(start, min(start + ROWS_PER_SWEEP, self.rows))
            removed = isin_rows(self.partner[part], partners)
            self.partner[part][removed], self.weight[part][removed] = NO_ROW, 0
            self._dirty_rows.mark(start + np.flatnonzero(removed.any(axis=1)))

    def mark_changed(self, rows: Rows) -> None:
        """Count rows as touched, also such as have no partner."""
        if len(rows):
            self._ensure_rows(int(rows.max()) + 1)
            self.changed[rows] = True
            self._dirty_rows.mark(rows)

    def are_empty(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows have no partner."""
        partner, _ = self.lookup(rows)
        empty: NDArray[np.bool_] = (partner == NO_ROW).all(axis=1)
        return empty

    def mark_rows_containing(self, partners: Rows) -> None:
        """Count every row that has one of these as touched: a sweep over the whole table."""
        for start in range(0, self.rows, ROWS_PER_SWEEP):
            part = slice(start, min(start + ROWS_PER_SWEEP, self.rows))
            rows = start + np.flatnonzero(isin_rows(self.partner[part], partners).any(axis=1))
            self.changed[rows] = True
            self._dirty_rows.mark(rows)

    def mark_all(self) -> None:
        """Count every row that has partners as touched."""
        self.changed[: self.rows] = (self.partner[: self.rows] != NO_ROW).any(axis=1)
        self._dirty_rows.mark_all()

    def tables(self) -> Sequence[Table]:
        """Partners and their weights, by row."""
        columns = {"partner": self.partner, "weight": self.weight, "changed": self.changed}
        return [
            Table({name: rows[: self.rows] for name, rows in columns.items()}, self._dirty_rows)
        ]

    def scalars(self) -> Arrays:
        """The clock."""
        return {"origin_ms": self.clock.to_array()}

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.partner = arrays["partner"].astype(np.int32)
        self.weight = arrays["weight"].astype(np.float32)
        self.changed = arrays["changed"].astype(np.bool_)
        self.rows = len(self.partner)
        self.clock.restore(arrays["origin_ms"])
        self._dirty_rows = DirtyRows(self.rows)

    def _ensure_rows(self, rows: int) -> None:
        """Room for so many rows; doubles, so that growth costs a constant an addition."""
        self.partner = grow(self.partner, rows, NO_ROW)
        self.weight = grow(self.weight, rows, 0)
        self.changed = grow(self.changed, rows, False)
        self._dirty_rows.ensure_rows(rows)
        self.rows = max(self.rows, rows)


def isin_rows(values: Rows, rows: Rows) -> NDArray[np.bool_]:
    """Which values, of any shape, are one of these rows.

    >>> isin_rows(np.array([[4, NO_ROW], [7, 99]]), np.array([7])).tolist()
    [[False, False], [True, False]]
    """
    # One place more, which NO_ROW and everything beyond the rows falls into.
    wanted = np.zeros(int(rows.max(initial=0)) + 2, np.bool_)
    wanted[rows] = True
    return wanted[np.where(values < 0, -1, np.minimum(values, len(wanted) - 1))]


def grow(table: NDArray[Cell], rows: int, fill: float) -> NDArray[Cell]:
    """The table itself if it has room for so many rows, else a copy with at least twice the room."""
    capacity = len(table)
    if rows <= capacity:
        return table
    larger = np.full((max(rows, 2 * capacity), *table.shape[1:]), fill, table.dtype)
    larger[:capacity] = table
    return larger


def run_starts(values: NDArray[np.integer]) -> NDArray[np.intp]:
    """Where a new value begins in a column that holds equal ones side by side.

    >>> run_starts(np.array([4, 4, 7, 7, 7, 9])).tolist()
    [0, 2, 5]
    """
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)])
