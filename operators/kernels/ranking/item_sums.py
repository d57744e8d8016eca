"""Sums of scores by item, and the k best of them: what each kernel that makes lists is built from.

A kernel finds an item's sum by a small hash table of its own (`slots`), so that its memory does not grow
with the shop and several threads may run it at once. `slots` holds indexes of `items`, -1 where it is
free; it has at least twice as many places as there are items, a power of two.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare

if TYPE_CHECKING:
    from state.arrays import Rows, Weights

NO_ROW = -1
_MULTIPLIER = 0x1E3779B1
"""31 bits: the product with a row stays within int64."""


@inlined_bare
def slots_for(items_max: int) -> int:
    """How many slots so many items need."""
    size = 16
    while size < 2 * items_max:
        size *= 2
    return size


@inlined_bare
def find(item: int, slots: Rows, items: Rows) -> int:
    """The index of an item in `items`; -1 - slot if it is not there, of the free slot for it."""
    mask = len(slots) - 1
    slot = int((np.int64(item) * _MULTIPLIER) >> 15) & mask
    while slots[slot] >= 0:
        if items[slots[slot]] == item:
            return int(slots[slot])
        slot = (slot + 1) & mask
    return -1 - slot


@inlined_bare
def is_better(score: float, item: int, other_score: float, other_item: int) -> bool:
    """Whether an item comes before another: by score, ties to the lower row."""
    return score > other_score or (score == other_score and item < other_item)


@inlined_bare
def select_best(
    items: Rows,
    scores: Weights,
    reasons: Rows,
    count: int,
    only_positive: bool,
    out_item: Rows,
    out_score: Weights,
    out_reason: Rows,
) -> int:
    """Write the best of `count` distinct items to a list, best first, padded; returns how many."""
    k, found = len(out_item), 0
    for index in range(count if k else 0):
        score, item = scores[index], items[index]
        if only_positive and not score > 0:
            continue
        if found == k and not is_better(score, item, out_score[k - 1], out_item[k - 1]):
            continue
        if found < k:
            found += 1
        place = found - 1
        while place > 0 and is_better(score, item, out_score[place - 1], out_item[place - 1]):
            out_score[place] = out_score[place - 1]
            out_item[place] = out_item[place - 1]
            out_reason[place] = out_reason[place - 1]
            place -= 1
        out_score[place], out_item[place], out_reason[place] = score, item, reasons[index]
    out_item[found:] = NO_ROW
    out_score[found:] = 0
    out_reason[found:] = NO_ROW
    return found


@inlined_bare
def distinct_context(context: Rows, row: int, length: int, out: Rows) -> None:
    """The newest `length` items of a session, each at its first position, NO_ROW elsewhere."""
    for position in range(length):
        item = context[row, position]
        out[position] = item
        for earlier in range(position):
            if context[row, earlier] == item:
                out[position] = NO_ROW
                break


@inlined_bare
def pairwise_sum(values: Weights, row: int) -> np.float32:
    """The sum of a row of numbers in NumPy's order: eight running sums, then the rest."""
    width = values.shape[1]
    if width < 8:
        few = np.float32(0)
        for column in range(width):
            few += values[row, column]
        return few
    a, b, c, d = values[row, 0], values[row, 1], values[row, 2], values[row, 3]
    e, f, g, h = values[row, 4], values[row, 5], values[row, 6], values[row, 7]
    whole = width - width % 8
    for column in range(8, whole, 8):
        a += values[row, column]
        b += values[row, column + 1]
        c += values[row, column + 2]
        d += values[row, column + 3]
        e += values[row, column + 4]
        f += values[row, column + 5]
        g += values[row, column + 6]
        h += values[row, column + 7]
    total: np.float32 = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for column in range(whole, width):
        total += values[row, column]
    return total
