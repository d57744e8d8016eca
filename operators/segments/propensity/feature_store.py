"""The features of each shopper as of its last event, by row: models can predict for any later time.

The names of the arrays are stored; everything else may be changed.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.segments.propensity.decision_times import TICK_MS
from operators.segments.propensity.features import (
    COUNT_COLUMNS,
    TIMES,
    count_columns,
    shopper_matrix,
)
from operators.segments.propensity.profile_fields import NO_STEP, WEEKLY_MODELS
from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times

    Floats = NDArray[np.float64]

PUBLISHED_FIELDS = len(WEEKLY_MODELS)
"""The number of profile fields that are kept up to date while a shopper is inactive."""
UNKNOWN = -1
"""A phase that was not computed yet."""


class LatestFeatures(TableState):
    """Counts float32[rows, 7], times int64[rows, 3] (ms), segments uint8[rows] as bits, published
    profile values int16[rows, 3], and the phase of decision times int32[rows]: 63 bytes a
    shopper."""

    def __init__(self) -> None:
        self.rows = 0
        self.segment_bits: NDArray[np.uint8] = np.empty(0, np.uint8)
        self._counts: NDArray[np.float32] = np.empty((0, COUNT_COLUMNS), np.float32)
        self._times: NDArray[np.int64] = np.empty((0, 3), np.int64)
        self.published_steps: NDArray[np.int16] = np.empty((0, PUBLISHED_FIELDS), np.int16)
        # At which ticks of a period decisions are taken: not stored, it follows from the name.
        self._phase: Rows = np.empty(0, np.int32)
        self._dirty_rows = DirtyRows()

    def update(self, rows: Rows, raw: Floats) -> None:
        """Store the feature rows [n, COLUMNS] of active shoppers."""
        self.ensure_rows(int(rows.max(initial=-1)) + 1)
        self._counts[rows] = count_columns(raw)
        self._times[rows] = raw[:, TIMES]
        self._dirty_rows.mark(rows)

    def points(self, rows: Rows, now_ms: Times | int) -> Floats:
        """Return the models' input for rows at a time, but not earlier than their own last
        event."""
        times = self._times[rows]
        return shopper_matrix(self._counts[rows], times, np.maximum(times[:, 1], now_ms))

    def last_ms(self, rows: Rows) -> Times:
        """Return when each was last active, 0 for a row without a shopper."""
        last_ms: Times = self._times[rows, 1]
        return last_ms

    def has_bought(self, rows: Rows) -> NDArray[np.bool_]:
        """Return whether each ever bought."""
        bought: NDArray[np.bool_] = self._times[rows, 2] > 0
        return bought

    def live_rows(self) -> Rows:
        """Return the rows that have a shopper."""
        return np.flatnonzero(self._times[: self.rows, 1]).astype(np.int32)

    def set_segments(self, rows: Rows, segment_bits: NDArray[np.uint8]) -> None:
        """Set the segments of each row, as bits."""
        self.segment_bits[rows] = segment_bits
        self._dirty_rows.mark(rows)

    def set_published(self, rows: Rows, steps: NDArray[np.int16]) -> None:
        """Set the values that the profiles of rows show now, as steps [n, PUBLISHED_FIELDS]."""
        self.published_steps[rows] = steps
        self._dirty_rows.mark(rows)

    def decisions_due(
        self, names: Sequence[str], since_ms: int, until_ms: int, idle_ms: Times, period: int
    ) -> tuple[Times, Rows]:
        """Return the decision times from one time to before another, and their rows, by time. A row
        has none once it was inactive for its `idle_ms`. `names` are by row."""
        live = self.live_rows()
        for row in live[self._phase[live] == UNKNOWN].tolist():
            self._phase[row] = zlib.crc32(names[row].encode()) % period
        last_ms, phase = self._times[live, 1], self._phase[live]
        tick = -(-np.maximum(last_ms, since_ms) // TICK_MS)
        tick += (phase - tick) % period
        limit_ms = np.minimum(until_ms, last_ms + idle_ms[live])
        due: list[tuple[Times, Rows]] = []
        while (pending := np.flatnonzero(tick * TICK_MS < limit_ms)).size:
            live, tick, limit_ms = live[pending], tick[pending], limit_ms[pending]
            due.append((tick * TICK_MS, live))
            tick = tick + period
        if not due:
            return np.empty(0, np.int64), np.empty(0, np.int32)
        at_ms, rows = (np.concatenate(column) for column in zip(*due, strict=True))
        order = np.lexsort((rows, at_ms))
        return at_ms[order], rows[order]

    def remove_shoppers(self, rows: Rows) -> None:
        """Clear these rows."""
        rows = rows[rows < self.rows]
        self._counts[rows], self._times[rows], self.segment_bits[rows] = 0.0, 0, 0
        self.published_steps[rows], self._phase[rows] = NO_STEP, UNKNOWN
        self._dirty_rows.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The columns by shopper."""
        columns: Arrays = {
            "counts": self._counts[: self.rows],
            "times": self._times[: self.rows],
            "member": self.segment_bits[: self.rows],
            "shown": self.published_steps[: self.rows],
        }
        return [Table(columns, self._dirty_rows)]

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned."""
        self._counts = arrays["counts"].astype(np.float32)
        self._times = arrays["times"].astype(np.int64)
        self.segment_bits = arrays["member"].astype(np.uint8)
        self.rows = len(self.segment_bits)
        # The release before the last did not store it.
        never = np.full((self.rows, PUBLISHED_FIELDS), NO_STEP)
        self.published_steps = arrays.get("shown", never).astype(np.int16)
        self._phase = np.full(self.rows, UNKNOWN, np.int32)
        self._dirty_rows = DirtyRows(self.rows)

    def ensure_rows(self, rows: int) -> None:
        """Grow to at least this many rows."""
        if rows > self.rows:
            self._counts = grow(self._counts, rows, 0.0)
            self._times = grow(self._times, rows, 0)
            self.segment_bits = grow(self.segment_bits, rows, 0)
            self.published_steps = grow(self.published_steps, rows, NO_STEP)
            self._phase = grow(self._phase, rows, UNKNOWN)
            self._dirty_rows.ensure_rows(rows)
            self.rows = rows
