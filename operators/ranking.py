"""From scored candidates to lists: the one place where items are summed up and sorted.

Everything works on whole batches, row by row. Order is decided by packed integers (what to sort by
in the high bits, where it came from in the low ones): no two are equal, so that a list is the same
on every machine, ties going to the item of the lower row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from state.interactions import NOBODY, Lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.interactions import Rows, Weights

_NOWHERE = np.iinfo(np.int32).max
_LAST = np.iinfo(np.int64).max


def best_items(item: Rows, score: Weights, because: Rows, k: int, repeats: int) -> Lists:
    """Sum the scores of an item along each row; at most k items with a score above 0, best first.

    item int32[n, w] is NOBODY-padded anywhere and holds an item at most `repeats` times a row,
    score float32[n, w] is at least 0, because int32[n, w] is kept from each item's largest score.
    The answer has exactly k columns.
    """
    n, width = item.shape
    if not item.size:
        return _pad(item, score, because, k)
    bits = (width - 1).bit_length()
    column = np.arange(width)
    key = np.where(item < 0, _NOWHERE, item).astype(np.int64) << bits | column
    key.sort(axis=1)
    item = (key >> bits).astype(np.int32)
    source = (key & ((1 << bits) - 1)) + (np.arange(n) * width)[:, None]
    score = score.ravel().take(source)

    head = item != _NOWHERE
    head[:, 1:] &= item[:, 1:] != item[:, :-1]
    total = score.copy()
    for shift in range(1, min(repeats, width)):
        same = item[:, shift:] == item[:, :-shift]
        total[:, :-shift] += score[:, shift:] * same
    best = descending(total) << 32 | column
    best[~(head & (total > 0))] = _LAST
    best.sort(axis=1)
    best = best[:, :k]

    missing = best == _LAST
    at = (best & 0xFFFFFFFF) * ~missing
    row = np.arange(n)[:, None]
    top, part = at, score[row, at]
    for shift in range(1, min(repeats, width)):
        other = np.minimum(at + shift, width - 1)
        larger = (item[row, other] == item[row, at]) & (score[row, other] > part)
        top, part = np.where(larger, other, top), np.where(larger, score[row, other], part)
    return _pad(
        np.where(missing, NOBODY, item[row, at]).astype(np.int32),
        np.where(missing, 0, total[row, at]).astype(np.float32),
        np.where(missing, NOBODY, because.ravel()[source[row, top]]).astype(np.int32),
        k,
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


def _pad(item: Rows, score: Weights, because: Rows, k: int) -> Lists:
    """Fill up to k columns."""
    extra = ((0, 0), (0, k - item.shape[1]))
    if extra[1][1] <= 0:
        return Lists(item[:, :k], score[:, :k], because[:, :k])
    return Lists(
        np.pad(item, extra, constant_values=NOBODY),
        np.pad(score, extra),
        np.pad(because, extra, constant_values=NOBODY),
    )
