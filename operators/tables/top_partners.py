"""A table that keeps, for each row, its heaviest partners under exponential decay.

The storage of every counting learner: an item and the items seen with it, a scope and the items liked
in it. Nothing here depends on what a row means. The array names in `tables` and `scalars` are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import (
    ascending_order,
    descending_key,
    grow,
    isin_rows,
    run_starts,
)
from operators.tables.decay_clock import DecayClock, decay
from operators.tables.replication import ChangedRows, ReplicatedColumns
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times, Weights

ROWS_PER_SWEEP = 16_384
"""Rows swept together: a sweep needs a few MB, however long the table is."""


class TopPartners(TableState, ReplicatedColumns):
    """At most `width` partners for each of a growing number of rows.

    partner int32[rows, width]   NO_ROW-padded, in no order
    weight float32[rows, width]  0 where there is no partner
    changed bool[rows]           since `take_changed`

    A full row makes space as Space-Saving does: a newcomer replaces the lightest partner and inherits
    its weight, so that a partner heavier than total/width is never missed. Within a batch the heaviest
    newcomers replace the lightest partners first, and stop where they would replace a heavier one.
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
        self.changed_rows = ChangedRows()
        self._dirty_rows = DirtyRows()

    def add(self, row: Rows, partner: Rows, weight: Weights, at_ms: Times) -> None:
        """Add a weight for each of n pairs. Rows and partners are at least 0; pairs may repeat."""
        if not len(row):
            return
        if doublings := self.clock.advance(at_ms):
            decay(self.weight, doublings)
            self._dirty_rows.mark_all()
            self.changed_rows.mark_all()
        bits = int(partner.max()).bit_length()
        pair = row.astype(np.int64) << bits | partner
        # Stable, so that equal pairs are summed in order of arrival on every machine.
        order = ascending_order(pair)
        pair = pair[order]
        starts = run_starts(pair)
        gain = np.add.reduceat((weight * self.clock.encode_scale(at_ms))[order], starts)
        row, partner = row[order[starts]], partner[order[starts]]
        self.ensure_rows(int(row[-1]) + 1)
        self.changed[row] = True
        self._dirty_rows.mark(row)
        self.changed_rows.mark(row)
        matches = self.partner.take(row, axis=0) == partner[:, None]
        slot = matches.argmax(axis=1)
        is_present = matches[np.arange(len(row)), slot]
        self.weight[row[is_present], slot[is_present]] += gain[is_present]
        self._admit_newcomers(row[~is_present], partner[~is_present], gain[~is_present])

    def _admit_newcomers(self, row: Rows, partner: Rows, gain: Weights) -> None:
        """Admit newcomers, sorted by row, each at most once a row."""
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

        # Weight in the high bits, slot in the low ones: one sort, and ties go to the first slot.
        bits = self.weight.take(row[rank == 0], axis=0).view(np.uint32).astype(np.int64)
        slots = np.sort(bits << 32 | np.arange(self.width), axis=1) & 0xFFFFFFFF
        slot = slots[group, rank]
        gain = gain + self.weight[row, slots[group, 0]]
        better = gain > self.weight[row, slot]
        row, slot = row[better], slot[better]
        self.partner[row, slot] = partner[better]
        self.weight[row, slot] = gain[better]

    def lookup(self, row: Rows) -> tuple[Rows, Weights]:
        """Partners and weights of rows of any shape; none for rows beyond the table."""
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
        """The rows changed since they were last taken, all or at most `limit`, in order of row.

        The order begins at `start` and continues with row 0 after the last row: a caller that passes
        the row after the last one taken gets to all of them.
        """
        rows = np.flatnonzero(self.changed[: self.rows]).astype(np.int32)
        if limit is not None and len(rows) > limit:
            rows = np.roll(rows, -int(np.searchsorted(rows, start)))[:limit]
        self.changed[rows] = False
        self._dirty_rows.mark(rows)
        return rows

    def remove_rows(self, rows: Rows) -> None:
        """Remove all partners of these rows."""
        rows = rows[rows < self.rows]
        self.partner[rows], self.weight[rows], self.changed[rows] = NO_ROW, 0, False
        self._dirty_rows.mark(rows)
        self.changed_rows.mark(rows)

    def remove_partners(self, partners: Rows) -> None:
        """Remove these partners from every row: a sweep over the whole table."""
        for start in range(0, self.rows, ROWS_PER_SWEEP):
            part = slice(start, min(start + ROWS_PER_SWEEP, self.rows))
            removed = isin_rows(self.partner[part], partners)
            self.partner[part][removed], self.weight[part][removed] = NO_ROW, 0
            rows = start + np.flatnonzero(removed.any(axis=1))
            self._dirty_rows.mark(rows)
            self.changed_rows.mark(rows)

    def mark_changed(self, rows: Rows) -> None:
        """Mark rows as changed, also rows without partners."""
        if len(rows):
            self.ensure_rows(int(rows.max()) + 1)
            self.changed[rows] = True
            self._dirty_rows.mark(rows)

    def are_empty(self, rows: Rows) -> NDArray[np.bool_]:
        """Which rows have no partner."""
        partner, _ = self.lookup(rows)
        empty: NDArray[np.bool_] = (partner == NO_ROW).all(axis=1)
        return empty

    def mark_rows_containing(self, partners: Rows) -> None:
        """Mark every row that has one of these partners as changed: a sweep over the whole table."""
        for start in range(0, self.rows, ROWS_PER_SWEEP):
            part = slice(start, min(start + ROWS_PER_SWEEP, self.rows))
            rows = start + np.flatnonzero(isin_rows(self.partner[part], partners).any(axis=1))
            self.changed[rows] = True
            self._dirty_rows.mark(rows)

    def mark_all(self) -> None:
        """Mark every row that has partners as changed."""
        self.changed[: self.rows] = (self.partner[: self.rows] != NO_ROW).any(axis=1)
        self._dirty_rows.mark_all()

    def tables(self) -> Sequence[Table]:
        """Partners and their weights, by row."""
        columns = {"partner": self.partner, "weight": self.weight, "changed": self.changed}
        return [
            Table({name: rows[: self.rows] for name, rows in columns.items()}, self._dirty_rows)
        ]

    def scalars(self) -> Arrays:
        """The decay clock."""
        return {"origin_ms": self.clock.to_array()}

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave."""
        self.partner = arrays["partner"].astype(np.int32)
        self.weight = arrays["weight"].astype(np.float32)
        self.changed = arrays["changed"].astype(np.bool_)
        self.rows = len(self.partner)
        self.clock.restore(arrays["origin_ms"])
        self._dirty_rows = DirtyRows(self.rows)

    def replicated_columns(self) -> tuple[Rows, Weights]:
        """Partners and their weights. Which lists are to be published is the trainer's affair."""
        return self.partner[: self.rows], self.weight[: self.rows]

    def ensure_rows(self, rows: int) -> None:
        """Extend the table to at least so many rows, without partners."""
        self.partner = grow(self.partner, rows, NO_ROW)
        self.weight = grow(self.weight, rows, 0)
        self.changed = grow(self.changed, rows, False)
        self._dirty_rows.ensure_rows(rows)
        self.rows = max(self.rows, rows)
