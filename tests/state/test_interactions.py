"""The row index: dense rows for ids, and free rows for new ones."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from state.arrays import NO_ROW
from state.interactions import ListRequests, RowIndex, empty_lists

IDS = st.lists(st.sampled_from("abcdefgh"), max_size=6)


@given(st.lists(st.tuples(st.booleans(), IDS), max_size=12))
def test_it_maps_as_a_dictionary_would_and_gives_the_lowest_free_row(
    steps: list[tuple[bool, list[str]]],
) -> None:
    index, rows, length = RowIndex(), dict[str, int](), 0
    for is_removal, names in steps:
        if is_removal:
            removed = sorted({rows.pop(name) for name in names if name in rows})
            index.remove(np.array(removed, np.int32))
        else:
            for name in names:
                if name not in rows:
                    free = sorted({*range(length)} - {*rows.values()})
                    rows[name] = free[0] if free else length
                    length = max(length, rows[name] + 1)
            assert index.get_or_add_many(names).tolist() == [rows[name] for name in names]
        assert {name: index.get(name) for name in "abcdefgh"} == {
            name: rows.get(name, NO_ROW) for name in "abcdefgh"
        }
        assert index.live_rows().tolist() == sorted(rows.values())
        assert len(index) == length
        assert RowIndex(index.ids).row_by_id == rows


def test_reused_rows_are_given_once() -> None:
    index = RowIndex(["a", "b", "c"])
    index.remove(np.array([0, 2], np.int32))
    assert index.get_or_add_many(["x", "y", "z"]).tolist() == [0, 2, 3]
    assert (index.take_reused_rows(), index.take_reused_rows()) == ([0, 2], [])


def test_only_changed_ids_are_dirty() -> None:
    index = RowIndex(["a", "b", "c"])
    index.dirty_rows.take_dirty(len(index))
    index.remove(np.array([1], np.int32))
    index.get_or_add_many(["a", "x", "y"])
    assert index.dirty_rows.take_dirty(len(index)).tolist() == [1, 3]


def test_a_subset_of_requests_keeps_their_columns_together() -> None:
    requests = ListRequests(
        np.array([4, 5, 6], np.int32), np.array([[1], [2], [3]], np.int32), np.array([7, 8, 9])
    )
    some = requests.subset(np.array([2, 0]))
    assert (some.shopper.tolist(), some.context.tolist(), some.now_ms.tolist()) == (
        [6, 4],
        [[3], [1]],
        [9, 7],
    )
    assert some.candidates.shape == (2, 0)


def test_empty_lists_hold_no_item() -> None:
    lists = empty_lists(2, 3)
    assert lists.item.tolist() == lists.reason_item.tolist() == [[NO_ROW] * 3] * 2
    assert lists.score.tolist() == [[0.0] * 3] * 2
