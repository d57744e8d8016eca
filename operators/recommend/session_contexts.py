"""The context of each shopper: the last items of the running session, as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking.session_contexts import append_items
from operators.tables.array_ops import ascending_order, grow, isin_rows
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.times import NEVER_SEEN_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times


class SessionContexts(TableState):
    """The last `length` items of each shopper's running session, newest first.

    An item belongs to an event's session if the shopper's last event lies at or after that
    session's start. Compared by time and not by id because a late event moves a session's start,
    and with it the id, without ending the session.

    recent int32[rows, length], last_ms int64[rows]: 4 * length + 8 bytes a shopper.
    """

    def __init__(self, length: int) -> None:
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        self.length = length
        self.rows = 0
        self.recent: Rows = np.empty((0, length), np.int32)
        self.last_ms: Times = np.empty(0, np.int64)
        self._dirty_rows = DirtyRows()

    def append(self, shopper: Rows, item: Rows, at_ms: Times, session_start_ms: Times) -> Rows:
        """Add a batch in order of arrival and return int32[n, length], the items before each event.

        `session_start_ms` is the start of each event's session. Events of one shopper in a batch see
        each other.
        """
        n, length = len(shopper), self.length
        if not n:
            return np.empty((0, length), np.int32)
        self._ensure_rows(int(shopper.max()) + 1)
        context = np.empty((n, length), np.int32)
        append_items(
            ascending_order(shopper),
            shopper,
            item,
            at_ms,
            session_start_ms,
            self.recent,
            self.last_ms,
            context,
        )
        self._dirty_rows.mark(shopper)
        return context

    def store(self, shopper: Rows, item: Rows, at_ms: Times, context: Rows) -> None:
        """Add a batch of which `append` of equal contexts gave the context of each event."""
        if not len(shopper):
            return
        self._ensure_rows(int(shopper.max()) + 1)
        # Of several events of a shopper the last one is kept.
        self.recent[shopper, 0] = item
        self.recent[shopper, 1:] = context[:, :-1]
        np.maximum.at(self.last_ms, shopper, at_ms)
        self._dirty_rows.mark(shopper)

    def lookup(self, shopper: Rows) -> Rows:
        """The contexts of shoppers, int32[n, length]; empty for NO_ROW and unknown rows."""
        if not self.rows:
            return np.full((len(shopper), self.length), NO_ROW, np.int32)
        known = (shopper >= 0) & (shopper < self.rows)
        context = self.recent.take(np.where(known, shopper, 0), axis=0)
        context[~known] = NO_ROW
        return context

    def newest_ms(self, shopper: Rows, default_ms: int) -> Times:
        """The time of each shopper's newest event; `default_ms` for NO_ROW and shoppers without one."""
        newest = np.full(len(shopper), default_ms, np.int64)
        known = np.flatnonzero((shopper >= 0) & (shopper < self.rows))
        last_ms = self.last_ms[shopper[known]]
        newest[known] = np.where(last_ms == NEVER_SEEN_MS, default_ms, last_ms)
        return newest

    def merge(self, row: int, into: int) -> None:
        """Clear a shopper's context. The row they are merged into gets it, unless their own is
        newer."""
        if not 0 <= row < self.rows or row == into:
            return
        if into != NO_ROW:
            self._ensure_rows(into + 1)
            if self.last_ms[into] < self.last_ms[row]:
                self.recent[into] = self.recent[row]
                self.last_ms[into] = self.last_ms[row]
                self._dirty_rows.mark(into)
        self.recent[row] = NO_ROW
        self.last_ms[row] = NEVER_SEEN_MS
        self._dirty_rows.mark(row)

    def remove_shoppers(self, rows: Rows) -> None:
        """Clear the contexts of these shoppers."""
        rows = rows[rows < self.rows]
        self.recent[rows], self.last_ms[rows] = NO_ROW, NEVER_SEEN_MS
        self._dirty_rows.mark(rows)

    def remove_items(self, rows: Rows) -> None:
        """Remove these items from all contexts."""
        recent = self.recent[: self.rows]
        is_removed = isin_rows(recent, rows)
        recent[is_removed] = NO_ROW
        self._dirty_rows.mark(np.flatnonzero(is_removed.any(axis=1)))

    def tables(self) -> Sequence[Table]:
        """The context and the newest time of each shopper."""
        columns: Arrays = {"recent": self.recent[: self.rows], "last_ms": self.last_ms[: self.rows]}
        return [Table(columns, self._dirty_rows)]

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot; an earlier release may have kept fewer items."""
        recent = arrays["recent"].astype(np.int32)
        self.recent = np.full((len(recent), self.length), NO_ROW, np.int32)
        self.recent[:, : recent.shape[1]] = recent
        self.last_ms = arrays["last_ms"].astype(np.int64)
        self.rows = len(self.recent)
        self._dirty_rows = DirtyRows(self.rows)

    def _ensure_rows(self, rows: int) -> None:
        self.recent = grow(self.recent, rows, NO_ROW)
        self.last_ms = grow(self.last_ms, rows, NEVER_SEEN_MS)
        self._dirty_rows.ensure_rows(rows)
        self.rows = max(self.rows, rows)
