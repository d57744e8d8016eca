"""What is known of each shopper as of the last event, by row: chances can then be told of any time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.learners.heaviest import grown
from operators.learners.table import Kept, Table
from operators.propensity.features import KEPT, counted, shopper_matrix
from state.marks import Marks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.learners.table import Arrays
    from state.interactions import Rows, Times

    Floats = NDArray[np.float64]

TIMES = [9, 10, 11]
"""Columns of a feature row: first seen, last seen, last purchase."""


class Latest(Kept):
    """Counts float32[rows, 7], times int64[rows, 3] (ms), segments uint8[rows] as bits: 53 bytes."""

    def __init__(self) -> None:
        self.rows = 0
        self.member: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._counts: NDArray[np.float32] = np.empty((0, KEPT), np.float32)
        self._times: NDArray[np.int64] = np.empty((0, 3), np.int64)
        self._marks = Marks()

    def see(self, rows: Rows, raw: Floats) -> None:
        """Shoppers were active: their feature rows [n, COLUMNS]."""
        self.reach(int(rows.max(initial=-1)) + 1)
        self._counts[rows] = counted(raw)
        self._times[rows] = raw[:, TIMES]
        self._marks.mark(rows)

    def points(self, rows: Rows, now_ms: Times | int) -> Floats:
        """What the models see of rows at a time, but no earlier than their own last event."""
        times = self._times[rows]
        return shopper_matrix(self._counts[rows], times, np.maximum(times[:, 1], now_ms))

    def last_ms(self, rows: Rows) -> Times:
        """When each was seen last, 0 for nobody."""
        last_ms: Times = self._times[rows, 1]
        return last_ms

    def has_bought(self, rows: Rows) -> NDArray[np.bool_]:
        """Whether each ever bought."""
        bought: NDArray[np.bool_] = self._times[rows, 2] > 0
        return bought

    def live(self) -> Rows:
        """The rows that are somebody."""
        return np.flatnonzero(self._times[: self.rows, 1]).astype(np.int32)

    def place(self, rows: Rows, member: NDArray[np.uint8]) -> None:
        """Which segments each is in now, as bits."""
        self.member[rows] = member
        self._marks.mark(rows)

    def forget(self, rows: Rows) -> None:
        """These are nobody."""
        rows = rows[rows < self.rows]
        self._counts[rows], self._times[rows], self.member[rows] = 0.0, 0, 0
        self._marks.mark(rows)

    def tables(self) -> Sequence[Table]:
        """By shopper."""
        columns: Arrays = {
            "counts": self._counts[: self.rows],
            "times": self._times[: self.rows],
            "member": self.member[: self.rows],
        }
        return [Table(columns, self._marks)]

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave."""
        self._counts = arrays["counts"].astype(np.float32)
        self._times = arrays["times"].astype(np.int64)
        self.member = arrays["member"].astype(np.uint8)
        self.rows = len(self.member)
        self._marks = Marks(self.rows)

    def reach(self, rows: int) -> None:
        """Make room for so many rows."""
        if rows > self.rows:
            self._counts = grown(self._counts, rows, 0.0)
            self._times = grown(self._times, rows, 0)
            self.member = grown(self.member, rows, 0)
            self._marks.reach(rows)
            self.rows = rows
