"""From scored candidates to lists: the one place where items are summed up and sorted.

Everything works on whole batches, row by row. Order is decided by packed integers (what to sort by
in the high bits, where it came from in the low ones): no two are equal, so that a list is the same
on every machine, ties going to the item of the lower row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def where(kept: NDArray[np.bool_], lists: Lists) -> Lists:
    """The lists of the requests kept, bool[n]; nothing for the others."""
    rows = kept[:, None]
    return Lists(
        np.where(rows, lists.item, NOBODY).astype(np.int32),
        np.where(rows, lists.score, 0).astype(np.float32),
        np.where(rows, lists.because, NOBODY).astype(np.int32),
    )


def without(lists: Lists, hidden: Rows) -> Lists:
    """The lists without the items of hidden int32[n, h], in the same order, padded at the end.

    >>> two = Lists(*(np.array([[4, 7]], np.int32) for _ in range(3)))
    >>> without(two, np.array([[4, NOBODY]], np.int32)).item.tolist()
    [[7, -1]]
    """
    gone = lists.item < 0
    for column in hidden.T:
        gone |= lists.item == column[:, None]
    kept = gone.argsort(axis=1, kind="stable")
    row = np.arange(len(kept))[:, None]
    return Lists(
        np.where(gone, NOBODY, lists.item)[row, kept],
        np.where(gone, 0, lists.score)[row, kept].astype(np.float32),
        np.where(gone, NOBODY, lists.because)[row, kept],
    )


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
