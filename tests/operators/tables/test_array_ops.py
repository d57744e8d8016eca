"""Operations on columns: the same as numpy's slower ways, on any machine."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from operators.tables.array_ops import (
    ascending_order,
    descending_key,
    grow,
    isin_rows,
    rank_in_run,
    run_starts,
)
from state.arrays import NO_ROW

KEYS = st_numpy.arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 5))
LARGE_KEYS = st_numpy.arrays(np.int64, st.integers(0, 30), elements=st.integers(0, 2**62))


@given(st.one_of(KEYS, LARGE_KEYS))
def test_the_order_is_that_of_a_stable_sort(key: np.ndarray) -> None:
    assert ascending_order(key).tolist() == key.argsort(kind="stable").tolist()


@given(
    st_numpy.arrays(
        np.float32, st.integers(0, 20), elements=st.floats(0, 1e9, width=32, allow_nan=False)
    )
)
def test_the_key_sorts_scores_from_high_to_low(score: np.ndarray) -> None:
    key = descending_key(score)
    assert score[key.argsort(kind="stable")].tolist() == sorted(score.tolist(), reverse=True)
    assert ((key >= 0) & (key < 2**32)).all()


@given(KEYS)
def test_runs_are_counted_from_their_starts(key: np.ndarray) -> None:
    values = np.sort(key)
    listed = values.tolist()
    assert run_starts(values).tolist() == [
        n for n, value in enumerate(listed) if n == 0 or listed[n - 1] != value
    ]
    assert rank_in_run(values).tolist() == [listed[:n].count(v) for n, v in enumerate(listed)]


@given(
    st_numpy.arrays(np.int32, st.integers(0, 20), elements=st.integers(NO_ROW, 12)),
    st_numpy.arrays(np.int32, st.integers(0, 6), elements=st.integers(0, 9)),
)
def test_values_are_looked_up_among_rows(values: np.ndarray, rows: np.ndarray) -> None:
    assert isin_rows(values, rows).tolist() == [value in rows for value in values.tolist()]


def test_a_table_grows_to_at_least_twice_its_size_and_keeps_its_rows() -> None:
    table = np.arange(6, dtype=np.int32).reshape(3, 2)
    assert grow(table, 3, NO_ROW) is table
    larger = grow(table, 4, NO_ROW)
    assert larger.tolist() == [*table.tolist(), *[[NO_ROW, NO_ROW]] * 3]
    assert larger.dtype == table.dtype
    assert len(grow(table, 9, 0)) == 9
