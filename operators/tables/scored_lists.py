"""Operations on scored lists: leave out items, reorder, cut, pad, fill.

Each function returns new lists; the lists given are not changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking.list_rules import leave_out
from operators.tables.array_ops import contains
from state.interactions import ScoredLists, empty_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows


def exclude(lists: ScoredLists, excluded: Rows) -> ScoredLists:
    """The lists without the items of excluded int32[n, h], in the same order, padded at the end.

    >>> two = ScoredLists(*(np.array([[4, 7]], np.int32) for _ in range(3)))
    >>> exclude(two, np.array([[4, -1]], np.int32)).item.tolist()
    [[7, -1]]
    """
    return drop(lists, contains(excluded, lists.item))


def drop(lists: ScoredLists, removed: NDArray[np.bool_]) -> ScoredLists:
    """The lists without the positions marked in removed bool[n, w], padded at the end."""
    return _without(lists, removed, lists.item.shape[1])


def _without(lists: ScoredLists, removed: NDArray[np.bool_], k: int) -> ScoredLists:
    """The first k items of each list that are not marked in removed bool[n, w]."""
    left = empty_lists(len(lists.item), k)
    leave_out(
        np.ascontiguousarray(lists.item),
        np.ascontiguousarray(lists.score),
        np.ascontiguousarray(lists.reason_item),
        removed,
        left.item,
        left.score,
        left.reason_item,
    )
    return left


def reorder(lists: ScoredLists, order: NDArray[np.intp]) -> ScoredLists:
    """The lists with their positions in another order, or some of the positions.

    A score is lowered where needed, so that no later item has a higher score.
    """
    score = np.take_along_axis(lists.score, order, axis=1)
    return ScoredLists(
        np.take_along_axis(lists.item, order, axis=1),
        np.minimum.accumulate(score, axis=1),
        np.take_along_axis(lists.reason_item, order, axis=1),
    )


def take(lists: ScoredLists, rows: slice | NDArray[np.integer], k: int) -> ScoredLists:
    """The first k items of some of the lists, copied."""
    return ScoredLists(
        lists.item[rows, :k].copy(),
        lists.score[rows, :k].copy(),
        lists.reason_item[rows, :k].copy(),
    )


def widen(lists: ScoredLists, k: int) -> ScoredLists:
    """The lists padded to at least k positions."""
    padding = empty_lists(len(lists.item), max(0, k - lists.item.shape[1]))
    return ScoredLists(
        np.concatenate([lists.item, padding.item], axis=1),
        np.concatenate([lists.score, padding.score], axis=1),
        np.concatenate([lists.reason_item, padding.reason_item], axis=1),
    )


def fill(lists: ScoredLists, fallback: ScoredLists, k: int) -> ScoredLists:
    """The first k items of each list; where it has fewer, items of the fallback follow at score 0.

    >>> one = ScoredLists(*(np.array([row], np.int32) for row in ([4, -1], [9, 0], [4, -1])))
    >>> other = ScoredLists(*(np.array([row], np.int32) for row in ([4, 7], [9, 8], [1, 1])))
    >>> fill(one, other, 2).item.tolist()
    [[4, 7]]
    """
    additions = drop(fallback, contains(lists.item, fallback.item))
    combined = ScoredLists(
        np.concatenate([lists.item, additions.item], axis=1),
        np.concatenate([lists.score, np.zeros_like(additions.score)], axis=1),
        np.concatenate([lists.reason_item, additions.reason_item], axis=1),
    )
    return _without(combined, combined.item < 0, k)
