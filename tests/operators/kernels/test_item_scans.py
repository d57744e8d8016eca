"""Scans over all items equal their plain references."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.kernels.item_scans import heaviest, members_of
from tests.reference import item_scans as reference

scores = st.lists(st.sampled_from([0.0, 0.125, 0.25, 0.5, 0.75, 1.0]), max_size=30)
groups = st.lists(st.tuples(st.integers(-1, 5), st.integers(-1, 5)), max_size=30)


@given(scores, st.integers(1, 8))
def test_the_heaviest_items_come_first(score: list[float], places: int) -> None:
    item, value = np.full(places, -1, np.int32), np.zeros(places, np.float32)
    count = heaviest(np.array(score, np.float32), item, value)
    expected = reference.heaviest(score, places)
    assert item[:count].tolist() == expected
    assert value[:count].tolist() == [score[row] for row in expected]


@given(groups, st.sets(st.integers(0, 5)))
def test_members_are_those_of_any_wanted_group(
    group: list[tuple[int, int]], wanted: set[int]
) -> None:
    is_wanted, out = np.zeros(6, np.bool_), np.empty(len(group), np.int32)
    is_wanted[sorted(wanted)] = True
    count = members_of(np.array(group, np.int32).reshape(-1, 2), is_wanted, out)
    assert out[:count].tolist() == reference.members_of(group, wanted)
