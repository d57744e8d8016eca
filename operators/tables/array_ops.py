"""Operations on columns of rows that several tables need: growing, sorting, looking up.

Pure functions of arrays. Orders are decided by packed integers (the sort key in the high bits, the
position in the low ones): no two are equal, so that an order is the same on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np

from operators.kernels.ranking.list_rules import mark_contained
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

Scalar = TypeVar("Scalar", bound=np.generic)


def grow(table: NDArray[Scalar], rows: int, fill: float) -> NDArray[Scalar]:
    """Return the table itself if it has so many rows, else a copy with at least twice as many.

    New rows hold `fill`. Doubling makes the cost of growth constant for each added row.
    """
    capacity = len(table)
    if rows <= capacity:
        return table
    larger = np.full((max(rows, 2 * capacity), *table.shape[1:]), fill, table.dtype)
    larger[:capacity] = table
    return larger


def isin_rows(values: Rows, rows: Rows) -> NDArray[np.bool_]:
    """Which values, of any shape, are one of these rows. NO_ROW is none of them.

    >>> isin_rows(np.array([[4, NO_ROW], [7, 99]]), np.array([7])).tolist()
    [[False, False], [True, False]]
    """
    # One slot more than the rows need: NO_ROW and every value beyond the rows fall into it.
    wanted = np.zeros(int(rows.max(initial=0)) + 2, np.bool_)
    wanted[rows] = True
    return wanted[np.where(values < 0, -1, np.minimum(values, len(wanted) - 1))]


def run_starts(values: NDArray[np.integer]) -> NDArray[np.intp]:
    """The positions at which a new value begins, in a column that holds equal values side by side.

    >>> run_starts(np.array([4, 4, 7, 7, 7, 9])).tolist()
    [0, 2, 5]
    """
    return np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]])[: len(values)])


def rank_in_run(values: NDArray[np.integer]) -> NDArray[np.intp]:
    """The position of each value among its equals, in a column that holds equal values side by side.

    >>> rank_in_run(np.array([4, 4, 7, 7, 7, 9])).tolist()
    [0, 1, 0, 1, 2, 0]
    """
    first = run_starts(values)
    return np.arange(len(values)) - np.repeat(first, np.diff(first, append=len(values)))


def ascending_order(key: NDArray[np.integer]) -> NDArray[np.int64]:
    """The order in which whole numbers ascend; none is below 0, equal ones keep their order.

    Sorting number and position packed into one integer, where both fit, takes a tenth of the time
    of `argsort`.

    >>> ascending_order(np.array([7, 0, 7, 3])).tolist()
    [1, 3, 0, 2]
    """
    bits = len(key).bit_length()
    if int(key.max(initial=0)) >> (63 - bits):
        return key.argsort(kind="stable")
    packed = key.astype(np.int64) << bits | np.arange(len(key))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


def descending_key(score: Weights) -> NDArray[np.int64]:
    """Integers below 2**32 that sort as the scores do from high to low; scores are at least 0.

    >>> descending_key(np.array([1, 2, 0], np.float32)).argsort().tolist()
    [1, 0, 2]
    """
    return 0xFFFFFFFF - np.ascontiguousarray(score).view(np.uint32).astype(np.int64)


def contains(excluded: Rows, item: Rows) -> NDArray[np.bool_]:
    """Which of the items [n, w] are in the same line of excluded [n, h]; NO_ROW is in none."""
    is_contained = np.empty(item.shape, np.bool_)
    mark_contained(np.ascontiguousarray(item), np.ascontiguousarray(excluded), is_contained)
    return is_contained


def first_occurrence(context: Rows) -> Rows:
    """The context with each item only at its first position, NO_ROW in its other positions.

    >>> first_occurrence(np.array([[3, 3, 5, 3]], np.int32)).tolist()
    [[3, -1, 5, -1]]
    """
    result = context.copy()
    for position in range(1, context.shape[1]):
        is_repeat = (context[:, :position] == context[:, position : position + 1]).any(axis=1)
        result[is_repeat, position] = NO_ROW
    return result
