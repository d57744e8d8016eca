"""A table that grows at its end: what was appended, in order."""

from __future__ import annotations

import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.tables.growable import GrowableArray


@given(st.lists(st.integers(0, 90), max_size=8))
def test_rows_are_what_was_appended(sizes: list[int]) -> None:
    table: GrowableArray[np.float64] = GrowableArray((2,), np.float64)
    blocks = [np.full((size, 2), float(n)) for n, size in enumerate(sizes)]
    for block in blocks:
        table.append(block)
    expected = np.concatenate([np.zeros((0, 2)), *blocks])
    assert table.rows.tolist() == expected.tolist()
    assert len(table) == sum(sizes)


def test_a_replaced_table_does_not_share_the_given_rows() -> None:
    table: GrowableArray[np.float32] = GrowableArray((), np.float32)
    rows = np.arange(100, dtype=np.float64)
    table.replace(rows)
    rows[:] = 0
    table.append(np.array([7.0], np.float32))
    assert table.rows.tolist() == [*range(100), 7.0]
    assert table.rows.dtype == np.float32


def test_a_pickled_table_continues_in_the_same_way() -> None:
    table: GrowableArray[np.int32] = GrowableArray((1,), np.int32)
    table.append(np.array([[3]], np.int32))
    other = pickle.loads(pickle.dumps(table))
    for one in (table, other):
        one.append(np.array([[4]], np.int32))
    assert table.rows.tolist() == other.rows.tolist() == [[3], [4]]
