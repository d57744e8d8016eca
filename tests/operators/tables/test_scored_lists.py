"""Operations on scored lists: what is left out, moved, cut, padded and filled."""

from __future__ import annotations

import numpy as np

from operators.tables.scored_lists import drop, exclude, fill, reorder, take, widen
from state.arrays import NO_ROW
from state.interactions import ScoredLists

Entries = list[tuple[int, float, int]]


def lists_of(*rows: Entries) -> ScoredLists:
    width = max(map(len, rows))
    padded = [[*row, *[(NO_ROW, 0.0, NO_ROW)] * (width - len(row))] for row in rows]
    item, score, reason = (
        np.array([[entry[n] for entry in row] for row in padded]) for n in range(3)
    )
    return ScoredLists(item.astype(np.int32), score.astype(np.float32), reason.astype(np.int32))


def rows_of(lists: ScoredLists) -> list[Entries]:
    columns = (lists.item.tolist(), lists.score.tolist(), lists.reason_item.tolist())
    return [[*zip(*row, strict=True)] for row in zip(*columns, strict=True)]


EMPTY = (NO_ROW, 0.0, NO_ROW)
LISTS = lists_of([(7, 3.0, 1), (8, 2.0, 1), (9, 1.0, 2)], [(8, 5.0, NO_ROW), (7, 4.0, 3)])


def test_excluded_items_are_left_out_and_the_others_move_up() -> None:
    excluded = np.array([[7, NO_ROW], [9, 8]], np.int32)
    assert rows_of(exclude(LISTS, excluded)) == [
        [(8, 2.0, 1), (9, 1.0, 2), EMPTY],
        [(7, 4.0, 3), EMPTY, EMPTY],
    ]


def test_positions_are_dropped() -> None:
    removed = np.array([[False, True, False], [False, False, False]])
    assert rows_of(drop(LISTS, removed)) == [
        [(7, 3.0, 1), (9, 1.0, 2), EMPTY],
        [(8, 5.0, NO_ROW), (7, 4.0, 3), EMPTY],
    ]


def test_after_a_reordering_no_later_item_has_a_higher_score() -> None:
    order = np.array([[2, 0, 1], [1, 0, 2]])
    assert rows_of(reorder(LISTS, order)) == [
        [(9, 1.0, 2), (7, 1.0, 1), (8, 1.0, 1)],
        [(7, 4.0, 3), (8, 4.0, NO_ROW), EMPTY],
    ]


def test_some_lists_are_taken_as_a_copy() -> None:
    taken = take(LISTS, np.array([1]), 1)
    assert rows_of(taken) == [[(8, 5.0, NO_ROW)]]
    taken.item[0, 0] = 1
    assert LISTS.item[1, 0] == 8


def test_lists_are_padded_to_a_width_and_never_cut() -> None:
    assert rows_of(widen(lists_of([(7, 3.0, 1)]), 3)) == [[(7, 3.0, 1), EMPTY, EMPTY]]
    assert rows_of(widen(LISTS, 1)) == rows_of(LISTS)


def test_a_short_list_is_filled_at_score_0_without_repeating_an_item() -> None:
    fallback = lists_of([(8, 9.0, 4), (5, 8.0, 4)], [(8, 9.0, 4), (5, 8.0, 4)])
    assert rows_of(fill(LISTS, fallback, 3)) == [
        [(7, 3.0, 1), (8, 2.0, 1), (9, 1.0, 2)],
        [(8, 5.0, NO_ROW), (7, 4.0, 3), (5, 0.0, 4)],
    ]
