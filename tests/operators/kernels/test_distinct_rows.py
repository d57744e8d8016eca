"""The kernel that gives each row once equals its plain reference, and leaves its scratch as it was."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.distinct_rows import distinct_rows
from tests.reference import distinct_rows as reference


@given(st.lists(st.integers(0, 20)))
def test_each_row_is_given_once(rows: list[int]) -> None:
    is_taken, out = np.zeros(21, np.bool_), np.empty(len(rows), np.int32)
    count = distinct_rows(np.array(rows, np.int32), is_taken, out)
    assert out[:count].tolist() == reference.distinct_rows(rows)
    assert not is_taken.any()
