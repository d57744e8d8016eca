"""The kernels that learn tables of partners: which pairs an event counts for, and where they go.

Their plain references: tests/reference/learning.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare, kernel
from operators.kernels.ranking.item_sums import NO_ROW

if TYPE_CHECKING:
    from state.arrays import Rows, Weights

_EIGHT, _BLOCK = 8, 128


@inlined_bare
def _sum_of_few(values: Weights, start: int, end: int) -> np.float32:
    """The sum of at most 128 numbers in NumPy's order."""
    total = np.float32(0)
    if end - start < _EIGHT:
        for index in range(start, end):
            total += values[index]
        return total
    a, b, c, d = values[start], values[start + 1], values[start + 2], values[start + 3]
    e, f, g, h = values[start + 4], values[start + 5], values[start + 6], values[start + 7]
    whole = end - (end - start) % _EIGHT
    for index in range(start + _EIGHT, whole, _EIGHT):
        a += values[index]
        b += values[index + 1]
        c += values[index + 2]
        d += values[index + 3]
        e += values[index + 4]
        f += values[index + 5]
        g += values[index + 6]
        h += values[index + 7]
    total = ((a + b) + (c + d)) + ((e + f) + (g + h))
    for index in range(whole, end):
        total += values[index]
    return np.float32(total)


@inlined_bare
def _run_sum(values: Weights, start: int, end: int) -> np.float32:
    """The sum of a run of numbers: the first, and in NumPy's order the others, up to 128 of them."""
    further: np.float32 = np.float32(0)
    for part in range(start + 1, end, _BLOCK):
        further += _sum_of_few(values, part, min(part + _BLOCK, end))
    return np.float32(values[start] + further)


@inlined_bare
def _place_newcomers(
    row: int,
    newcomers: Rows,
    gains: Weights,
    count: int,
    partner: Rows,
    weight: Weights,
    slots: Rows,
) -> None:
    """Put newcomers, heaviest first, in the place of the lightest partners of a row, lightest first.

    Each inherits the weight of the lightest, and comes in only if it is then heavier than its partner.
    """
    lightest, slot = np.float32(-1), -1
    for rank in range(count):
        found = -1
        for column in range(partner.shape[1]):
            one = weight[row, column]
            is_after = one > lightest or (one == lightest and column > slot)
            if is_after and (found < 0 or one < weight[row, found]):
                found = column
        slots[rank] = found
        lightest, slot = weight[row, found], found
    inherited = weight[row, slots[0]]
    for rank in range(count):
        gain = gains[rank] + inherited
        if gain > weight[row, slots[rank]]:
            partner[row, slots[rank]], weight[row, slots[rank]] = newcomers[rank], gain


@inlined_bare
def _insert_newcomer(
    item: int, gain: np.float32, count: int, newcomers: Rows, gains: Weights
) -> int:
    """Insert an item among the heaviest newcomers, after equals; returns how many there are."""
    if count == len(newcomers):
        if not gain > gains[count - 1]:
            return count
        count -= 1
    place = count
    while place > 0 and gain > gains[place - 1]:
        newcomers[place], gains[place] = newcomers[place - 1], gains[place - 1]
        place -= 1
    newcomers[place], gains[place] = item, gain
    return count + 1


@kernel("void(int32[::1], int32[::1], float32[::1], int32[:, ::1], float32[:, ::1])")
def add_partners(row: Rows, item: Rows, gain: Weights, partner: Rows, weight: Weights) -> None:
    """Add gains to pairs of a row and a partner, sorted by row and partner; pairs may repeat.

    A partner of a row that is full takes the place of a lighter one, if there is one.
    """
    width = partner.shape[1]
    newcomers, slots = np.empty((2, width), np.int32)
    gains = np.empty(width, np.float32)
    start, count = 0, 0
    while start < len(row):
        end = start + 1
        while end < len(row) and row[end] == row[start] and item[end] == item[start]:
            end += 1
        total = _run_sum(gain, start, end)
        slot = 0
        while slot < width and partner[row[start], slot] != item[start]:
            slot += 1
        if slot < width:
            weight[row[start], slot] += total
        else:
            count = _insert_newcomer(item[start], total, count, newcomers, gains)
        if count and (end == len(row) or row[end] != row[start]):
            _place_newcomers(row[start], newcomers, gains, count, partner, weight, slots)
            count = 0
        start = end


@kernel(
    "int64(int32[:, ::1], int64, int32[::1], float32[::1], float32[::1], float32,"
    "int32[::1], int32[::1], float32[::1])"
)
def transitions(
    context: Rows,
    length: int,
    item: Rows,
    weight: Weights,
    scale: Weights,
    backward_weight: np.float32,
    out_row: Rows,
    out_item: Rows,
    out_gain: Weights,
) -> int:
    """Write the pairs that events count for: from each item of the session to theirs, then back.

    An item counts by its distance. All ways forth come first, then all ways back; returns their number.
    """
    count, event_of = 0, np.empty(len(item) * length, np.int64)
    for event in range(len(item)):
        for position in range(length):
            viewed = context[event, position]
            is_repeat = viewed == NO_ROW
            for earlier in range(position):
                is_repeat |= context[event, earlier] == viewed
            if not is_repeat:
                out_row[count], out_item[count] = viewed, item[event]
                out_gain[count] = np.float32(weight[event] / (position + 1))
                event_of[count] = event
                count += 1
    for pair in range(count):
        forth, unit = out_gain[pair], scale[event_of[pair]]
        out_gain[pair] = forth * unit
        out_gain[count + pair] = (forth * backward_weight) * unit
        out_row[count + pair], out_item[count + pair] = out_item[pair], out_row[pair]
    return 2 * count
