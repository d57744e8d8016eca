"""From scored candidates to lists: the one place where items are summed up and sorted.

Everything works on whole batches, row by row. Order is decided by packed integers (what to sort by
in the high bits, where it came from in the low ones): no two are equal, so that a list is the same
on every machine, ties going to the item of the lower row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from state.interactions import NOBODY, Lists, empty_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.interactions import Rows, Weights

ROWS_AT_ONCE = 256
"""Rows worked on together: the columns in between then stay in the cache, at half the time."""


class Sums(NamedTuple):
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

    def strongest(self, score: Weights) -> NDArray[np.intp]:
        """Of each sum the flat column with the largest score, the first of equals."""
        return self.source[self._added(score.take(self.source), len(self.source))[1]]

    def added(self, score: Weights, most: int) -> tuple[Weights, NDArray[np.intp]]:
        """Scores of the first so many columns of each sum, one added after the other, and `strongest`
        of those."""
        total, best = self._added(score.take(self.source), most)
        return total, self.source[best]

    def _added(self, scores: Weights, most: int) -> tuple[Weights, NDArray[np.intp]]:
        best, size = self.starts.copy(), self.sizes
        total = scores[best]
        largest = total.copy()
        more = np.arange(len(best))
        for step in range(1, min(most, int(size.max(initial=1)))):
            more = more[size[more] > step]
            at = self.starts[more] + step
            here = scores[at]
            total[more] += here
            larger = np.flatnonzero(here > largest[more])
            best[more[larger]], largest[more[larger]] = at[larger], here[larger]
        return total, best


def grouped(item: Rows) -> Sums:
    """The columns of items [n, w], NOBODY-padded anywhere, by row and item, with sums of 0."""
    n, width = item.shape
    bits = max(1, (width - 1).bit_length())
    # Half as long where the shop is not of hundreds of millions of items; NOBODY is the largest of all.
    unsigned = np.uint32 if int(item.max(initial=0)) >> (31 - bits) == 0 else np.uint64
    key: NDArray[Any] = item.astype(unsigned)
    key <<= bits
    key |= np.arange(width, dtype=unsigned)
    key.sort(axis=1)
    there = key < ~unsigned((1 << bits) - 1)
    count = np.count_nonzero(there, axis=1)
    key = key[there]
    item = (key >> bits).astype(np.int32)
    head = np.ones(len(key), np.bool_)
    np.not_equal(item[1:], item[:-1], out=head[1:])
    head[(count.cumsum() - count)[count > 0]] = True
    starts = np.flatnonzero(head)
    row = np.repeat(np.arange(n), count)
    source = row * width
    source += key & ((1 << bits) - 1)
    return Sums(row[starts], item[starts], np.zeros(len(starts), np.float32), source, starts)


def sums(item: Rows, score: Weights) -> Sums:
    """Scores [n, w] of items [n, w], NOBODY-padded anywhere, summed by row and item."""
    of = grouped(item)
    if not len(of.starts):
        return of
    return of._replace(score=np.add.reduceat(score.take(of.source), of.starts))


def heaviest(of: Sums, score: Weights, because: Rows, n: int, k: int) -> Lists:
    """Lists of the k sums with most score, at least 0, in each of n rows; ties to the lower item."""
    lists = empty_lists(n, k)
    order = ascending(of.row << 32 | descending(score))
    rank = np.arange(len(order)) - np.searchsorted(of.row, np.arange(n))[of.row]
    shown = np.flatnonzero(rank < k)
    order, place = order[shown], of.row[shown] * k + rank[shown]
    lists.item.ravel()[place] = of.item[order]
    lists.score.ravel()[place] = score[order]
    lists.because.ravel()[place] = because[order]
    return lists


def best_items(item: Rows, score: Weights, because: Rows, k: int, repeats: int) -> Lists:
    """Sum the scores of an item along each row; at most k items with a score above 0, best first.

    item int32[n, w] is NOBODY-padded anywhere and counts at most `repeats` times a row,
    score float32[n, w] is at least 0, because int32[n, w] is kept from each item's largest score.
    The answer has exactly k columns.
    """
    lists = empty_lists(len(item), k)
    for start in range(0, len(item), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        of = grouped(item[part])
        total, strongest = of.added(score[part], repeats)
        best = heaviest(of, total, because[part].take(strongest), len(item[part]), k)
        there = best.score > 0
        lists.item[part] = np.where(there, best.item, NOBODY)
        lists.score[part] = best.score
        lists.because[part] = np.where(there, best.because, NOBODY)
    return lists


def ascending(key: NDArray[np.integer]) -> NDArray[np.int64]:
    """The order in which whole numbers ascend, not below 0, equal ones in the order they stand in.

    A sort of number and place as one, where they fit, takes a tenth of what `argsort` does.

    >>> ascending(np.array([7, 0, 7, 3])).tolist()
    [1, 3, 0, 2]
    """
    bits = len(key).bit_length()
    if int(key.max(initial=0)) >> (63 - bits):
        return key.argsort(kind="stable")
    packed = key.astype(np.int64) << bits | np.arange(len(key))
    packed.sort()
    packed &= (1 << bits) - 1
    return packed


def without(lists: Lists, hidden: Rows) -> Lists:
    """The lists without the items of hidden int32[n, h], in the same order, padded at the end.

    >>> two = Lists(*(np.array([[4, 7]], np.int32) for _ in range(3)))
    >>> without(two, np.array([[4, NOBODY]], np.int32)).item.tolist()
    [[7, -1]]
    """
    return dropped(lists, holds(hidden, lists.item))


def holds(hidden: Rows, item: Rows) -> NDArray[np.bool_]:
    """Which of the items [n, w] are in the same row of hidden [n, h]; NOBODY is in none."""
    there = np.zeros(item.shape, np.bool_)
    for column in hidden.T:
        there |= item == column[:, None]
    return there & (item >= 0)


def dropped(lists: Lists, gone: NDArray[np.bool_]) -> Lists:
    """The lists without the places that are gone bool[n, w], padded at the end."""
    gone = gone | (lists.item < 0)
    kept = gone.argsort(axis=1, kind="stable")
    row = np.arange(len(kept))[:, None]
    return Lists(
        np.where(gone, NOBODY, lists.item)[row, kept],
        np.where(gone, 0, lists.score)[row, kept].astype(np.float32),
        np.where(gone, NOBODY, lists.because)[row, kept],
    )


def reordered(lists: Lists, order: NDArray[np.intp]) -> Lists:
    """The lists in another order of places, or some of them; what comes later has no higher score."""
    score = np.take_along_axis(lists.score, order, axis=1)
    return Lists(
        np.take_along_axis(lists.item, order, axis=1),
        np.minimum.accumulate(score, axis=1),
        np.take_along_axis(lists.because, order, axis=1),
    )


def taken(lists: Lists, rows: slice | NDArray[np.integer], k: int) -> Lists:
    """Some of the lists, copied, and the first k of each."""
    return Lists(
        lists.item[rows, :k].copy(), lists.score[rows, :k].copy(), lists.because[rows, :k].copy()
    )


def widened(lists: Lists, k: int) -> Lists:
    """The lists with room for k items."""
    more = empty_lists(len(lists.item), max(0, k - lists.item.shape[1]))
    return Lists(
        np.concatenate([lists.item, more.item], axis=1),
        np.concatenate([lists.score, more.score], axis=1),
        np.concatenate([lists.because, more.because], axis=1),
    )


def filled(lists: Lists, more: Lists, k: int) -> Lists:
    """The first k of each list, with what they lack taken from other lists, at a score of 0.

    >>> one = Lists(*(np.array([row], np.int32) for row in ([4, -1], [9, 0], [4, -1])))
    >>> other = Lists(*(np.array([row], np.int32) for row in ([4, 7], [9, 8], [1, 1])))
    >>> filled(one, other, 2).item.tolist()
    [[4, 7]]
    """
    fresh = dropped(more, holds(lists.item, more.item))
    both = Lists(
        np.concatenate([lists.item, fresh.item], axis=1),
        np.concatenate([lists.score, np.zeros_like(fresh.score)], axis=1),
        np.concatenate([lists.because, fresh.because], axis=1),
    )
    whole = dropped(both, both.item < 0)
    return taken(whole, slice(None), k)


def descending(score: Weights) -> NDArray[np.int64]:
    """Integers below 2**32 that sort as the scores do from high to low; scores are at least 0.

    >>> descending(np.array([1, 2, 0], np.float32)).argsort().tolist()
    [1, 0, 2]
    """
    return 0xFFFFFFFF - np.ascontiguousarray(score).view(np.uint32).astype(np.int64)


def first_seen(context: Rows) -> Rows:
    """The context with every item only where it comes first, NOBODY in the other places.

    >>> first_seen(np.array([[3, 3, 5, 3]], np.int32)).tolist()
    [[3, -1, 5, -1]]
    """
    kept = context.copy()
    for place in range(1, context.shape[1]):
        again = (context[:, :place] == context[:, place : place + 1]).any(axis=1)
        kept[again, place] = NOBODY
    return kept
