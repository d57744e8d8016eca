"""Timers of rows: what is due is taken once, at its true time, soonest first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.tables.row_timers import RowTimers
from state.times import HOUR_MS, NEVER_MS


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5 * HOUR_MS)), max_size=30),
    st.lists(st.integers(0, 3 * HOUR_MS), min_size=10, max_size=10),
    st.lists(st.integers(0, 9 * HOUR_MS), max_size=5),
    st.sampled_from([1, 3, 99]),
)
def test_rows_are_due_at_their_true_time_the_earliest_first(
    added: list[tuple[int, int]], later_ms: list[int], asked: list[int], limit: int
) -> None:
    """However much later that is than the time of their timer."""
    timers, due = RowTimers(), dict[int, int]()
    for row, at_ms in added:
        timers.add(np.array([row], np.int32), np.array([at_ms]))
        due[row] = min(due.get(row, at_ms), at_ms)
    due = {row: at_ms + later_ms[row] for row, at_ms in due.items()}
    truth = np.array([due.get(row, NEVER_MS) for row in range(10)])
    for now_ms in sorted(asked):
        expected = sorted((at_ms, row) for row, at_ms in due.items() if at_ms <= now_ms)
        taken: list[int] = []
        while len(chunk := timers.take_due(now_ms, limit, lambda rows: truth[rows])):
            assert len(chunk) <= limit
            taken += chunk.tolist()
        assert taken == [row for _, row in expected]
        due = {row: at_ms for row, at_ms in due.items() if row not in taken}


def test_a_cancelled_row_is_never_due() -> None:
    timers, rows = RowTimers(), np.arange(3, dtype=np.int32)
    timers.add(rows, np.array([1, 2, 3]))
    timers.cancel(np.array([1, 7], np.int32))
    assert timers.take_due(9, 9, lambda of: of.astype(np.int64) + 1).tolist() == [0, 2]
