"""Ids of clusters that stay: which new group continues which old one.

Pure functions of labels. Change by measurement only: ids are published and stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize

from state.arrays import NO_ROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Labels = NDArray[np.intp]


def match_labels(
    old: Labels,
    new: Labels,
    k_old: int,
    k_new: int,
    weights: NDArray[np.float64] | None = None,
) -> Labels:
    """The old label that each new one continues, NO_ROW for a new group -> intp[k_new].

    old, new: labels of the same points, below k_old and k_new; weights: how much each point counts.
    Old and new labels are paired so that most points keep theirs (Hungarian method). A pair that shares
    no more than half of its points (Dice 1945, twice the shared points over the sum of both) does not
    count. So the larger part of a group that splits continues it, and the larger of two groups that
    become one.

    >>> match_labels(np.array([0, 0, 0, 1, 1]), np.array([1, 1, 2, 0, 0]), 2, 3).tolist()
    [1, 0, -1]
    """
    pairs = np.bincount(old * k_new + new, weights, minlength=k_old * k_new)
    shared = pairs.reshape(k_old, k_new)
    old_label, new_label = optimize.linear_sum_assignment(shared, maximize=True)
    sizes = shared.sum(axis=1)[old_label] + shared.sum(axis=0)[new_label]
    continues = 4 * shared[old_label, new_label] > sizes
    order = np.full(k_new, NO_ROW, np.intp)
    order[new_label[continues]] = old_label[continues]
    return order


def carry_ids(
    continued: Labels, old_ids: NDArray[np.int64], next_id: int
) -> tuple[NDArray[np.int64], int]:
    """The ids of new groups, int64[k_new], and the next free id.

    A group that continues an old one (`continued`, from `match_labels`) keeps its id; a new group gets
    an id that was never used.

    >>> ids, next_id = carry_ids(np.array([1, NO_ROW, 0]), np.array([4, 7]), 9)
    >>> ids.tolist(), next_id
    ([7, 9, 4], 10)
    """
    is_new = continued == NO_ROW
    count = int(is_new.sum())
    ids = np.empty(len(continued), np.int64)
    ids[~is_new] = old_ids[continued[~is_new]]
    ids[is_new] = next_id + np.arange(count)
    return ids, next_id + count


def find_replacements(
    old: Labels, new: Labels, old_ids: NDArray[np.int64], new_ids: NDArray[np.int64]
) -> list[tuple[int, int]]:
    """The old ids that ended, each with the new id that most of its points have now.

    old, new: labels of the same points, positions in old_ids and new_ids.

    >>> old, new = np.array([0, 1, 1, 1]), np.array([0, 0, 1, 1])
    >>> find_replacements(old, new, np.array([4, 5]), np.array([4, 6]))
    [(5, 6)]
    """
    k_old, k_new = len(old_ids), len(new_ids)
    shared = np.bincount(old * k_new + new, minlength=k_old * k_new).reshape(k_old, k_new)
    return [
        (int(old_id), int(replacement))
        for old_id, replacement in zip(old_ids, new_ids[shared.argmax(axis=1)], strict=True)
        if old_id not in new_ids
    ]
