"""A table that keeps, for each row, its heaviest partners under exponential decay.

The storage of every counting learner: an item and the items seen with it, a scope and the items liked
in it. Nothing here depends on what a row means. The array names in `tables` and `scalars` are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking.learning import add_partners
from operators.tables.array_ops import ascending_order, grow, isin_rows
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
        if len(row):
            self.add_encoded(row, partner, weight * self.encode_scale(at_ms))

    def encode_scale(self, at_ms: Times) -> Weights:
        """Advance the clock; how large a weight of 1 is stored at each time."""
        if doublings := self.clock.advance(at_ms):
            decay(self.weight, doublings)
            self._dirty_rows.mark_all()
            self.changed_rows.mark_all()
        return self.clock.encode_scale(at_ms)

    def add_encoded(self, row: Rows, partner: Rows, gain: Weights) -> None:
        """Add weights, as they are stored, for each of n pairs."""
        bits = int(partner.max()).bit_length()
        # Stable, so that equal pairs are summed in order of arrival on every machine.
        order = ascending_order(row.astype(np.int64) << bits | partner)
        row = row[order]
        self.ensure_rows(int(row[-1]) + 1)
        self.changed[row] = True
        self._dirty_rows.mark(row)
        self.changed_rows.mark(row)
        add_partners(row, partner[order], gain[order], self.partner, self.weight)

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
