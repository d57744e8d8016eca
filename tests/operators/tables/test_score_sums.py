"""Scores summed by item and sorted: the same as a dictionary would give, ties to the lower row."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from operators.tables.score_sums import best_items, group_by_item
from state.arrays import NO_ROW
from tests.reference.score_sums import sum_by_item

SHAPE = st.tuples(st.integers(0, 4), st.integers(1, 7))


@st.composite
def candidates(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Items with their scores, both [n, w]; scores are small whole numbers, so sums are exact."""
    shape = draw(SHAPE)
    item = draw(st_numpy.arrays(np.int32, shape, elements=st.integers(NO_ROW, 5)))
    score = draw(st_numpy.arrays(np.int32, shape, elements=st.integers(0, 4)))
    return item, score.astype(np.float32)


@given(candidates())
def test_scores_are_summed_by_row_and_item(given_: tuple[np.ndarray, np.ndarray]) -> None:
    item, score = given_
    expected: dict[tuple[int, int], float] = {}
    for row, column in np.ndindex(item.shape):
        if item[row, column] != NO_ROW:
            key = (row, int(item[row, column]))
            expected[key] = expected.get(key, 0.0) + float(score[row, column])
    sums = sum_by_item(item, score)
    assert sums.score.tolist() == [expected[key] for key in sorted(expected)]
    keys = zip(sums.row.tolist(), sums.item.tolist(), strict=True)
    assert [*keys] == sorted(expected)


@given(candidates(), st.integers(1, 5), st.integers(1, 3))
def test_the_best_items_come_first_with_the_column_of_their_largest_score(
    given_: tuple[np.ndarray, np.ndarray], k: int, repeats: int
) -> None:
    item, score = given_
    column = np.tile(np.arange(item.shape[1], dtype=np.int32), (len(item), 1))
    lists = best_items(item, score, column, k, repeats)
    for row in range(len(item)):
        found = []
        for one in {*item[row].tolist()} - {NO_ROW}:
            at = np.flatnonzero(item[row] == one)[:repeats]
            total = float(score[row, at].sum())
            if total > 0:
                found.append((-total, one, int(at[score[row, at].argmax()])))
        found = (sorted(found) + [(0.0, NO_ROW, NO_ROW)] * k)[:k]
        assert lists.item[row].tolist() == [one for _, one, _ in found]
        assert lists.score[row].tolist() == [-total for total, _, _ in found]
        assert lists.reason_item[row].tolist() == [reason for _, _, reason in found]


def test_items_of_a_shop_of_any_size_are_sorted_by_row() -> None:
    item = np.array([[2_000_000_000, 3, NO_ROW, 3]], np.int32)
    groups = group_by_item(item)
    assert (groups.item.tolist(), groups.sizes.tolist()) == ([3, 2_000_000_000], [2, 1])
    assert groups.source.tolist() == [1, 3, 0]
