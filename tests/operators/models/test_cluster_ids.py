"""Ids of groups: a group that continues keeps its id, a new one gets an id that was never used."""

from __future__ import annotations

import numpy as np

from operators.models.cluster_ids import carry_ids, match_labels
from state.arrays import NO_ROW


def ids_after(old: list[int], new: list[int], k_old: int, k_new: int) -> tuple[list[int], int]:
    continued = match_labels(np.array(old), np.array(new), k_old, k_new)
    ids, next_id = carry_ids(continued, np.arange(10, 10 + k_old), 10 + k_old)
    return ids.tolist(), next_id


def test_labels_in_another_order_keep_their_ids() -> None:
    assert ids_after([0, 0, 1, 1, 2], [2, 2, 0, 0, 1], 3, 3) == ([11, 12, 10], 13)


def test_the_larger_part_of_a_group_that_splits_continues_it() -> None:
    assert ids_after([0, 0, 0, 0, 0], [0, 1, 1, 1, 1], 1, 2) == ([11, 10], 12)


def test_the_larger_of_two_groups_that_join_continues() -> None:
    assert ids_after([0, 1, 1, 1, 1], [0, 0, 0, 0, 0], 2, 1) == ([11], 12)


def test_a_group_that_keeps_half_of_its_points_or_less_is_new() -> None:
    assert ids_after([0, 0, 0, 0], [0, 0, 1, 1], 1, 2)[0] == [10, 11]
    assert ids_after([0, 0, 1, 1], [0, 1, 0, 1], 2, 2) == ([12, 13], 14)


def test_weights_decide_as_repeated_points_would() -> None:
    old, new = np.array([0, 0, 1]), np.array([0, 1, 1])
    light = match_labels(old, new, 2, 2, np.array([3.0, 1.0, 1.0]))
    heavy = match_labels(old, new, 2, 2, np.array([1.0, 9.0, 1.0]))
    assert light.tolist() == [0, 1]
    assert heavy.tolist() == [NO_ROW, 0]


def test_ids_of_a_better_clustering_follow_most_of_the_points() -> None:
    old = np.repeat([0, 1, 2], 100)
    new = np.concatenate([np.full(100, 2), np.full(90, 0), np.full(10, 1), np.full(100, 1)])
    assert match_labels(old, new, 3, 3).tolist() == [1, 2, 0]
