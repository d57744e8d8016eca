"""From scored candidates to lists: the one place where items are summed up and sorted.

Everything works on whole batches, row by row. Order is decided by packed integers (what to sort by
in the high bits, where it came from in the low ones): no two are equal, so that a list is the same
on every machine, ties going to the item of the lower row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from state.interactions import NOBODY, Lists, empty_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.interactions import Rows, Weights

ROWS_AT_ONCE = 256
"""Rows worked on together: the columns in between then stay in the cache, at half the time."""

_NO_ITEM = np.int64(np.iinfo(np.int32).max)
_LAST = np.iinfo(np.int64).max


def best_items(item: Rows, score: Weights, because: Rows, k: int, repeats: int) -> Lists:
    """Sum the scores of an item along each row; at most k items with a score above 0, best first.

    item int32[n, w] is NOBODY-padded anywhere and holds an item at most `repeats` times a row,
    score float32[n, w] is at least 0, because int32[n, w] is kept from each item's largest score.
    The answer has exactly k columns.
    """
    lists = empty_lists(len(item), k)
    if item.size:
        for start in range(0, len(item), ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            _best_into(lists, part, (item[part], score[part], because[part]), repeats)
    return lists


def _best_into(
    lists: Lists, part: slice, candidates: tuple[Rows, Weights, Rows], repeats: int
) -> None:
    """Fill a part of the lists."""
    item, score, because = candidates
    n, width = item.shape
    bits = (width - 1).bit_length()
    column = np.arange(width)
    first = np.arange(n)[:, None] * width

    key = np.where(item < 0, _NO_ITEM, item) << bits | column
    key.sort(axis=1)
    item = (key >> bits).astype(np.int32)
    source = (key & ((1 << bits) - 1)) + first
    score = score.take(source)

    head = item != _NO_ITEM
    head[:, 1:] &= item[:, 1:] != item[:, :-1]
    total = score.copy()
    for shift in range(1, min(repeats, width)):
        total[:, :-shift] += score[:, shift:] * (item[:, shift:] == item[:, :-shift])
    order = np.where(head & (total > 0), descending(total) << 32 | column, _LAST)
    order.sort(axis=1)
    order = order[:, : lists.item.shape[1]]

    found = order != _LAST
    column = np.where(found, order & 0xFFFFFFFF, 0)
    best = column + first
    top, top_score, listed = best, score.take(best), item.take(best)
    for shift in range(1, min(repeats, width)):
        other = np.where(column < width - shift, best + shift, best)
        larger = (item.take(other) == listed) & (score.take(other) > top_score)
        top, top_score = (
            np.where(larger, other, top),
            np.where(larger, score.take(other), top_score),
        )
    shown = (part, slice(0, order.shape[1]))
    lists.item[shown] = np.where(found, listed, NOBODY)
    lists.score[shown] = np.where(found, total.take(best), 0)
    lists.because[shown] = np.where(found, because.take(source.take(top)), NOBODY)


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
        scores, at = score.take(self.source), np.arange(len(self.source))
        most = np.repeat(np.maximum.reduceat(scores, self.starts), self.sizes)
        return self.source[np.minimum.reduceat(np.where(scores == most, at, len(at)), self.starts)]


def sums(item: Rows, score: Weights) -> Sums:
    """Scores [n, w] of items [n, w], NOBODY-padded anywhere, summed by row and item."""
    n, width = item.shape
    bits = max(1, (width - 1).bit_length())
    key = np.where(item < 0, _NO_ITEM, item) << bits | np.arange(width)
    key.sort(axis=1)
    there = key < _NO_ITEM << bits
    source = (key & ((1 << bits) - 1)) + np.arange(n)[:, None] * width
    head = there.copy()
    head[:, 1:] &= key[:, 1:] >> bits != key[:, :-1] >> bits
    source, head = source[there], head[there]
    starts = np.flatnonzero(head)
    first = source[starts]
    total = np.add.reduceat(score.take(source), starts) if len(starts) else score.ravel()[:0]
    return Sums(first // width, item.take(first), total, source, starts)


def heaviest(of: Sums, score: Weights, because: Rows, n: int, k: int) -> Lists:
    """Lists of the k sums with most score, at least 0, in each of n rows; ties to the lower item."""
    lists = empty_lists(n, k)
    order = (of.row << 32 | descending(score)).argsort(kind="stable")
    row = of.row[order]
    rank = np.arange(len(row)) - np.searchsorted(row, np.arange(n))[row]
    shown = rank < k
    order, place = order[shown], (row[shown], rank[shown])
    lists.item[place], lists.score[place] = of.item[order], score[order]
    lists.because[place] = because[order]
    return lists


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
