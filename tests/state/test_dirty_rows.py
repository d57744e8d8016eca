"""Dirty rows: each changed row is taken once, and a new row counts as changed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state.dirty_rows import DirtyRows


@given(st.lists(st.tuples(st.integers(0, 300), st.lists(st.integers(0, 299), max_size=5))))
def test_changed_and_new_rows_are_taken_once(steps: list[tuple[int, list[int]]]) -> None:
    dirty_rows, clean = DirtyRows(), set[int]()
    for rows, changed in steps:
        dirty_rows.ensure_rows(300)
        dirty_rows.mark(np.array(changed, np.int32))
        clean -= {*changed}
        expected = [row for row in range(rows) if row not in clean]
        assert dirty_rows.take_dirty(rows).tolist() == expected
        clean |= {*range(rows)}


def test_all_rows_can_be_marked() -> None:
    dirty_rows = DirtyRows(3)
    dirty_rows.take_dirty(3)
    dirty_rows.mark_all()
    assert dirty_rows.take_dirty(3).tolist() == [0, 1, 2]
