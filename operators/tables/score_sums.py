"""From scored candidates to lists: the one place where scores are summed by item and sorted.

Everything works on whole batches, row by row. Ties go to the item of the lower row, so that a list is
the same on every machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.tables.array_ops import ascending_order, descending_key
from state.arrays import NO_ROW
from state.interactions import ScoredLists, empty_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

ROWS_PER_CHUNK = 256
"""Rows worked on together: intermediate columns then stay in the cache, which halves the time."""


class ScoreSums(NamedTuple):
    """Scores of n rows summed by item: s sums in order of row, then item.

    row int[s], item int32[s], score float32[s]
    source int[w]   positions of the scored columns of all rows, flat, in order of row and item
    starts int[s]   where in `source` each sum begins
    """

    row: NDArray[np.intp]
    item: Rows
    score: Weights
    source: NDArray[np.intp]
    starts: NDArray[np.intp]

    @property
    def sizes(self) -> NDArray[np.intp]:
        """How many columns each sum has."""
        return np.diff(self.starts, append=len(self.source))

    def sum_first(self, score: Weights, limit: int) -> tuple[Weights, NDArray[np.intp]]:
        """The sum of the first `limit` columns of each, in order, and the flat column with the largest
        score among those, the first of equals."""
        scores = score.take(self.source)
        best, size = self.starts.copy(), self.sizes
        total = scores[best]
        largest = total.copy()
        longer = np.arange(len(best))
        for step in range(1, min(limit, int(size.max(initial=1)))):
            longer = longer[size[longer] > step]
            index = self.starts[longer] + step
            values = scores[index]
            total[longer] += values
            larger = np.flatnonzero(values > largest[longer])
            best[longer[larger]], largest[longer[larger]] = index[larger], values[larger]
        return total, self.source[best]


def group_by_item(item: Rows) -> ScoreSums:
    """The columns of items [n, w], NO_ROW-padded anywhere, by row and item, with sums of 0."""
    n, width = item.shape
    bits = max(1, (width - 1).bit_length())
    # 32 bits are enough unless the shop has hundreds of millions of items. NO_ROW sorts last.
    unsigned = np.uint32 if int(item.max(initial=0)) >> (31 - bits) == 0 else np.uint64
    key: NDArray[Any] = item.astype(unsigned)
    key <<= bits
    key |= np.arange(width, dtype=unsigned)
    key.sort(axis=1)
    is_item = key < ~unsigned((1 << bits) - 1)
    count = np.count_nonzero(is_item, axis=1)
    key = key[is_item]
    item = (key >> bits).astype(np.int32)
    is_start = np.ones(len(key), np.bool_)
    np.not_equal(item[1:], item[:-1], out=is_start[1:])
    is_start[(count.cumsum() - count)[count > 0]] = True
    starts = np.flatnonzero(is_start)
    row = np.repeat(np.arange(n), count)
    source = row * width
    source += (key & ((1 << bits) - 1)).astype(np.intp)
    return ScoreSums(row[starts], item[starts], np.zeros(len(starts), np.float32), source, starts)


def top_k(sums: ScoreSums, score: Weights, reason_item: Rows, n: int, k: int) -> ScoredLists:
    """Lists of the k sums with the highest score, at least 0, in each of n rows.

    Ties go to the lower item.
    """
    lists = empty_lists(n, k)
    order = ascending_order(sums.row << 32 | descending_key(score))
    rank = np.arange(len(order)) - np.searchsorted(sums.row, np.arange(n))[sums.row]
    chosen = np.flatnonzero(rank < k)
    order, cells = order[chosen], sums.row[chosen] * k + rank[chosen]
    lists.item.ravel()[cells] = sums.item[order]
    lists.score.ravel()[cells] = score[order]
    lists.reason_item.ravel()[cells] = reason_item[order]
    return lists


def best_items(item: Rows, score: Weights, reason_item: Rows, k: int, repeats: int) -> ScoredLists:
    """Sum the scores of an item along each row; at most k items with a score above 0, best first.

    item int32[n, w] is NO_ROW-padded anywhere and counts at most `repeats` times a row,
    score float32[n, w] is at least 0, reason_item int32[n, w] is kept from each item's largest score.
    The result has exactly k columns.
    """
    lists = empty_lists(len(item), k)
    for start in range(0, len(item), ROWS_PER_CHUNK):
        part = slice(start, start + ROWS_PER_CHUNK)
        groups = group_by_item(item[part])
        total, sources = groups.sum_first(score[part], repeats)
        best = top_k(groups, total, reason_item[part].take(sources), len(item[part]), k)
        is_scored = best.score > 0
        lists.item[part] = np.where(is_scored, best.item, NO_ROW)
        lists.score[part] = best.score
        lists.reason_item[part] = np.where(is_scored, best.reason_item, NO_ROW)
    return lists
