"""From scored candidates to lists: the one place where items are summed up and sorted.

Everything works on whole batches, row by row. Order is decided by packed integers (what to sort by
in the high bits, where it came from in the low ones): no two are equal, so that a list is the same
on every machine, ties going to the item of the lower row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from state.interactions import NO_ROW, ScoredLists, empty_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.interactions import Rows, Weights

ROWS_PER_CHUNK = 256
"""Rows worked on together: the columns in between then stay in the cache, at half the time."""


class ScoreSums(NamedTuple):
    """Scores of n rows summed by item: s sums in order of row, then item.

    row int[s], item int32[s], score float32[s]
    source int[w]   the scored columns of all rows, flat, in order of row and item
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

    def best_sources(self, score: Weights) -> NDArray[np.intp]:
        """Of each sum the flat column with the largest score, the first of equals."""
        return self.source[self._sum_first(score.take(self.source), len(self.source))[1]]

    def sum_first(self, score: Weights, limit: int) -> tuple[Weights, NDArray[np.intp]]:
        """Scores of the first so many columns of each sum, one added after the other, and `strongest`
        of those."""
        total, best = self._sum_first(score.take(self.source), limit)
        return total, self.source[best]

    def _sum_first(self, scores: Weights, limit: int) -> tuple[Weights, NDArray[np.intp]]:
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
        return total, best


def group_by_item(item: Rows) -> ScoreSums:
    """The columns of items [n, w], NO_ROW-padded anywhere, by row and item, with sums of 0."""
    n, width = item.shape
    bits = max(1, (width - 1).bit_length())
    # Half as long where the shop is not of hundreds of millions of items; NO_ROW is the largest of all.
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
    source += key & ((1 << bits) - 1)
    return ScoreSums(row[starts], item[starts], np.zeros(len(starts), np.float32), source, starts)


def sum_by_item(item: Rows, score: Weights) -> ScoreSums:
    """Scores [n, w] of items [n, w], NO_ROW-padded anywhere, summed by row and item."""
    groups = group_by_item(item)
    if not len(groups.starts):
        return groups
    return groups._replace(score=np.add.reduceat(score.take(groups.source), groups.starts))


def top_k(sums: ScoreSums, score: Weights, reason_item: Rows, n: int, k: int) -> ScoredLists:
    """Lists of the k sums with most score, at least 0, in each of n rows; ties to the lower item."""
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
    score float32[n, w] is at least 0, because int32[n, w] is kept from each item's largest score.
    The answer has exactly k columns.
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


def ascending_order(key: NDArray[np.integer]) -> NDArray[np.int64]:
    """The order in which whole numbers ascend, not below 0, equal ones in the order they stand in.

    A sort of number and place as one, where they fit, takes a tenth of what `argsort` does.

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


def exclude(lists: ScoredLists, excluded: Rows) -> ScoredLists:
    """The lists without the items of hidden int32[n, h], in the same order, padded at the end.

    >>> two = ScoredLists(*(np.array([[4, 7]], np.int32) for _ in range(3)))
    >>> exclude(two, np.array([[4, NO_ROW]], np.int32)).item.tolist()
    [[7, -1]]
    """
    return drop(lists, contains(excluded, lists.item))


def contains(excluded: Rows, item: Rows) -> NDArray[np.bool_]:
    """Which of the items [n, w] are in the same row of hidden [n, h]; NO_ROW is in none."""
    is_contained = np.zeros(item.shape, np.bool_)
    for column in excluded.T:
        is_contained |= item == column[:, None]
    return is_contained & (item >= 0)


def drop(lists: ScoredLists, removed: NDArray[np.bool_]) -> ScoredLists:
    """The lists without the places that are gone bool[n, w], padded at the end."""
    removed = removed | (lists.item < 0)
    order = removed.argsort(axis=1, kind="stable")
    row = np.arange(len(order))[:, None]
    return ScoredLists(
        np.where(removed, NO_ROW, lists.item)[row, order],
        np.where(removed, 0, lists.score)[row, order].astype(np.float32),
        np.where(removed, NO_ROW, lists.reason_item)[row, order],
    )


def reorder(lists: ScoredLists, order: NDArray[np.intp]) -> ScoredLists:
    """The lists in another order of places, or some of them; what comes later has no higher score."""
    score = np.take_along_axis(lists.score, order, axis=1)
    return ScoredLists(
        np.take_along_axis(lists.item, order, axis=1),
        np.minimum.accumulate(score, axis=1),
        np.take_along_axis(lists.reason_item, order, axis=1),
    )


def take(lists: ScoredLists, rows: slice | NDArray[np.integer], k: int) -> ScoredLists:
    """Some of the lists, copied, and the first k of each."""
    return ScoredLists(
        lists.item[rows, :k].copy(),
        lists.score[rows, :k].copy(),
        lists.reason_item[rows, :k].copy(),
    )


def widen(lists: ScoredLists, k: int) -> ScoredLists:
    """The lists with room for k items."""
    padding = empty_lists(len(lists.item), max(0, k - lists.item.shape[1]))
    return ScoredLists(
        np.concatenate([lists.item, padding.item], axis=1),
        np.concatenate([lists.score, padding.score], axis=1),
        np.concatenate([lists.reason_item, padding.reason_item], axis=1),
    )


def fill(lists: ScoredLists, fallback: ScoredLists, k: int) -> ScoredLists:
    """The first k of each list, with what they lack taken from other lists, at a score of 0.

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
    compacted = drop(combined, combined.item < 0)
    return take(compacted, slice(None), k)


def descending_key(score: Weights) -> NDArray[np.int64]:
    """Integers below 2**32 that sort as the scores do from high to low; scores are at least 0.

    >>> descending_key(np.array([1, 2, 0], np.float32)).argsort().tolist()
    [1, 0, 2]
    """
    return 0xFFFFFFFF - np.ascontiguousarray(score).view(np.uint32).astype(np.int64)


def first_occurrence(context: Rows) -> Rows:
    """The context with every item only where it comes first, NO_ROW in the other places.

    >>> first_occurrence(np.array([[3, 3, 5, 3]], np.int32)).tolist()
    [[3, -1, 5, -1]]
    """
    result = context.copy()
    for position in range(1, context.shape[1]):
        is_repeat = (context[:, :position] == context[:, position : position + 1]).any(axis=1)
        result[is_repeat, position] = NO_ROW
    return result
