"""What each shopper looked at just now: the last items of the running session, as one table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import ascending
from operators.tables.table import Kept, Table
from operators.tables.top_partners import among, grown, run_starts
from state.dirty_rows import Marks
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.tables.table import Arrays
    from state.interactions import Rows, Times

LONG_AGO_MS = np.iinfo(np.int64).min


class Contexts(Kept):
    """The last `reach` items of each shopper's running session, newest first.

    An item belongs to an event's session if the shopper's last event lies at or after that
    session's start. Compared by time and not by id because a late event moves a session's start,
    and with it the id, without ending the session.

    recent int32[rows, reach], last_ms int64[rows]: 4 * reach + 8 bytes a shopper.
    """

    def __init__(self, reach: int) -> None:
        if reach < 1:
            raise ValueError(f"reach must be at least 1, got {reach}")
        self.reach = reach
        self.rows = 0
        self.recent: Rows = np.empty((0, reach), np.int32)
        self.last_ms: Times = np.empty(0, np.int64)
        self._marks = Marks()

    def advance(self, shopper: Rows, item: Rows, at_ms: Times, since_ms: Times) -> Rows:
        """Add a batch in arrival order and give int32[n, reach], the items before each event.

        `since_ms` is the start of each event's session. Events of one shopper see each other.
        """
        n, reach = len(shopper), self.reach
        if not n:
            return np.empty((0, reach), np.int32)
        self._grow(int(shopper.max()) + 1)
        order = ascending(shopper)
        first = run_starts(shopper[order])
        who = shopper[order[first]]
        group = np.repeat(np.arange(len(first)), np.diff(first, append=n))

        # One tape: for each shopper what is remembered, oldest first, then the batch's events.
        tape = np.empty(len(first) * reach + n, np.int32)
        tape_ms = np.empty(len(tape), np.int64)
        place = np.arange(n) + (group + 1) * reach
        remembered = (first + np.arange(len(first)) * reach)[:, None] + np.arange(reach)
        tape[remembered] = self.recent[who, ::-1]
        tape_ms[remembered] = self.last_ms[who, None]
        tape[place], tape_ms[place] = item[order], at_ms[order]

        before = place[:, None] - np.arange(1, reach + 1)
        in_order = np.where(tape_ms[before] >= since_ms[order, None], tape[before], NOBODY)
        last = np.append(first[1:], n) - 1
        self.recent[who, 0] = item[order[last]]
        self.recent[who, 1:] = in_order[last, :-1]
        newest_ms = np.maximum.reduceat(at_ms[order], first)
        self.last_ms[who] = np.maximum(self.last_ms[who], newest_ms)
        self._marks.mark(who)

        context = np.empty((n, reach), np.int32)
        context[order] = in_order
        return context

    def take(self, shopper: Rows) -> Rows:
        """The recent items of shoppers, int32[n, reach]; none for NOBODY and unknown rows."""
        if not self.rows:
            return np.full((len(shopper), self.reach), NOBODY, np.int32)
        known = (shopper >= 0) & (shopper < self.rows)
        context = self.recent.take(np.where(known, shopper, 0), axis=0)
        context[~known] = NOBODY
        return context

    def newest_ms(self, shopper: Rows, otherwise_ms: int) -> Times:
        """When each shopper's newest event was; another time for NOBODY and those without one."""
        newest = np.full(len(shopper), otherwise_ms, np.int64)
        known = np.flatnonzero((shopper >= 0) & (shopper < self.rows))
        last_ms = self.last_ms[shopper[known]]
        newest[known] = np.where(last_ms == LONG_AGO_MS, otherwise_ms, last_ms)
        return newest

    def leave(self, shopper: int, heir: int = NOBODY) -> None:
        """Clear a shopper's row; the heir, if any, goes on with it unless their own is newer."""
        if not 0 <= shopper < self.rows or shopper == heir:
            return
        if heir != NOBODY:
            self._grow(heir + 1)
            if self.last_ms[heir] < self.last_ms[shopper]:
                self.recent[heir] = self.recent[shopper]
                self.last_ms[heir] = self.last_ms[shopper]
                self._marks.mark(heir)
        self.recent[shopper] = NOBODY
        self.last_ms[shopper] = LONG_AGO_MS
        self._marks.mark(shopper)

    def forget_shoppers(self, rows: Rows) -> None:
        """These shoppers never looked at anything."""
        rows = rows[rows < self.rows]
        self.recent[rows], self.last_ms[rows] = NOBODY, LONG_AGO_MS
        self._marks.mark(rows)

    def forget_items(self, rows: Rows) -> None:
        """Nobody ever looked at these items."""
        recent = self.recent[: self.rows]
        gone = among(recent, rows)
        recent[gone] = NOBODY
        self._marks.mark(np.flatnonzero(gone.any(axis=1)))

    def tables(self) -> Sequence[Table]:
        """What each shopper looked at, and when last."""
        columns: Arrays = {"recent": self.recent[: self.rows], "last_ms": self.last_ms[: self.rows]}
        return [Table(columns, self._marks)]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.recent = arrays["recent"].astype(np.int32)
        self.last_ms = arrays["last_ms"].astype(np.int64)
        self.rows = len(self.recent)
        self._marks = Marks(self.rows)

    def _grow(self, rows: int) -> None:
        self.recent = grown(self.recent, rows, NOBODY)
        self.last_ms = grown(self.last_ms, rows, LONG_AGO_MS)
        self._marks.reach(rows)
        self.rows = max(self.rows, rows)
