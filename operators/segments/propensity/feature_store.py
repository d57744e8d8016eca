"""What is known of each shopper as of the last event, by row: chances can then be told of any time."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.segments.propensity.decision_times import TICK_MS
from operators.segments.propensity.features import KEPT, TIMES, counted, shopper_matrix
from operators.tables.table import Kept, Table
from operators.tables.top_partners import grown
from state.dirty_rows import Marks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Rows, Times

    Floats = NDArray[np.float64]

SHOWN = 3
"""Fields of the profile that are kept up to date while a shopper does nothing."""
UNKNOWN = -1
"""A phase that was not asked for yet, a step that was never shown."""


class Latest(Kept):
    """Counts float32[rows, 7], times int64[rows, 3] (ms), segments uint8[rows] as bits, what profiles
    show int16[rows, 3], and when decisions are taken, int32[rows]: 63 bytes."""

    def __init__(self) -> None:
        self.rows = 0
        self.member: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._counts: NDArray[np.float32] = np.empty((0, KEPT), np.float32)
        self._times: NDArray[np.int64] = np.empty((0, 3), np.int64)
        self.shown: NDArray[np.int16] = np.empty((0, SHOWN), np.int16)
        # At which ticks of a period decisions are taken: not stored, names say it.
        self._phase: Rows = np.empty(0, np.int32)
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

    def show(self, rows: Rows, steps: NDArray[np.int16]) -> None:
        """What profiles show now of each, as steps [n, SHOWN]."""
        self.shown[rows] = steps
        self._marks.mark(rows)

    def ticks(
        self, names: Sequence[str], since_ms: int, until_ms: int, idle_ms: Times, period: int
    ) -> tuple[Times, Rows]:
        """Times from one to before another at which decisions of rows are to be taken, and the rows, by
        time. Nobody is asked about who was idle for as long as `idle_ms` of its row says; `names` are
        by row."""
        live = self.live()
        for row in live[self._phase[live] == UNKNOWN].tolist():
            self._phase[row] = zlib.crc32(names[row].encode()) % period
        last_ms, phase = self._times[live, 1], self._phase[live]
        tick = -(-np.maximum(last_ms, since_ms) // TICK_MS)
        tick += (phase - tick) % period
        limit_ms = np.minimum(until_ms, last_ms + idle_ms[live])
        found: list[tuple[Times, Rows]] = []
        while (left := np.flatnonzero(tick * TICK_MS < limit_ms)).size:
            live, tick, limit_ms = live[left], tick[left], limit_ms[left]
            found.append((tick * TICK_MS, live))
            tick = tick + period
        if not found:
            return np.empty(0, np.int64), np.empty(0, np.int32)
        at_ms, rows = (np.concatenate(column) for column in zip(*found, strict=True))
        order = np.lexsort((rows, at_ms))
        return at_ms[order], rows[order]

    def forget(self, rows: Rows) -> None:
        """These are nobody."""
        rows = rows[rows < self.rows]
        self._counts[rows], self._times[rows], self.member[rows] = 0.0, 0, 0
        self.shown[rows], self._phase[rows] = UNKNOWN, UNKNOWN
        self._marks.mark(rows)

    def tables(self) -> Sequence[Table]:
        """By shopper."""
        columns: Arrays = {
            "counts": self._counts[: self.rows],
            "times": self._times[: self.rows],
            "member": self.member[: self.rows],
            "shown": self.shown[: self.rows],
        }
        return [Table(columns, self._marks)]

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave."""
        self._counts = arrays["counts"].astype(np.float32)
        self._times = arrays["times"].astype(np.int64)
        self.member = arrays["member"].astype(np.uint8)
        self.rows = len(self.member)
        # The release before the last did not store it.
        unknown = np.full((self.rows, SHOWN), UNKNOWN)
        self.shown = arrays.get("shown", unknown).astype(np.int16)
        self._phase = np.full(self.rows, UNKNOWN, np.int32)
        self._marks = Marks(self.rows)

    def reach(self, rows: int) -> None:
        """Make room for so many rows."""
        if rows > self.rows:
            self._counts = grown(self._counts, rows, 0.0)
            self._times = grown(self._times, rows, 0)
            self.member = grown(self.member, rows, 0)
            self.shown = grown(self.shown, rows, UNKNOWN)
            self._phase = grown(self._phase, rows, UNKNOWN)
            self._marks.reach(rows)
            self.rows = rows
