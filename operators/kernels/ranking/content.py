"""The kernel of `operators.recommend.candidates.content`: similar items of the groups of viewed items.

Its plain reference: tests/reference/content.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare, kernel
from operators.kernels.ranking.item_sums import (
    NO_ROW,
    distinct_context,
    find,
    select_best,
    slots_for,
)
from operators.kernels.ranking.vector_math import exp_all, log_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

    Hashes = NDArray[np.uint64]

CATEGORY, BRAND = 0, 1
"""Columns of `group`."""
_TINY = np.float32(np.finfo(np.float32).tiny)
_FAR = np.float32(-100)
"""A difference of prices that are not similar at all: its exponential is nearly 0."""
_PAIRS, _NIBBLES, _BYTES = (
    np.uint64(m) for m in (0x5555555555555555, 0x3333333333333333, 0xF0F0F0F0F0F0F0F)
)
_1, _2, _4, _8, _16, _32, _COUNT = (np.uint64(bits) for bits in (1, 2, 4, 8, 16, 32, 127))


@inlined_bare
def _bit_count(bits: np.uint64) -> int:
    """The number of bits that are 1."""
    bits = bits - ((bits >> _1) & _PAIRS)
    bits = (bits & _NIBBLES) + ((bits >> _2) & _NIBBLES)
    bits = (bits + (bits >> _4)) & _BYTES
    bits = bits + (bits >> _8)
    bits = bits + (bits >> _16)
    return int((bits + (bits >> _32)) & _COUNT)


@inlined_bare
def _similarity_of_groups(
    item: int,
    reference: int,
    group: Rows,
    name_hash: Hashes,
    weights: Weights,
    by_bits: Weights,
) -> np.float32:
    """How similar an item is to another by category, brand and name; `weights` of each and of price."""
    similarity = np.float32(0)
    same_category = group[item, CATEGORY] == group[reference, CATEGORY] >= 0
    if same_category:
        similarity = weights[0]
    if group[item, BRAND] == group[reference, BRAND] >= 0:
        similarity += weights[1] if same_category else weights[1] * np.float32(0.5)
    if name_hash[item] and name_hash[reference]:
        similarity += weights[3] * by_bits[_bit_count(name_hash[item] ^ name_hash[reference])]
    return similarity


@inlined_bare
def _references(
    context: Rows, row: int, group: Rows, partner: Rows, own: Rows, groups: Rows
) -> None:
    """The items of a session that count, the newest again at the end, and the group of each to look in:
    its category, at the end its brand. NO_ROW for none."""
    length = len(own) - 1
    distinct_context(context, row, length, own)
    own[length] = own[0]
    for place in range(len(own)):
        item = own[place]
        groups[place] = NO_ROW
        if 0 <= item < len(group):
            groups[place] = group[item, CATEGORY if place < length else BRAND]
            if groups[place] >= len(partner):
                groups[place] = NO_ROW


@inlined_bare
def _entries(
    own: Rows,
    groups: Rows,
    partner: Rows,
    weight: Weights,
    group: Rows,
    price: Weights,
    places: Rows,
    entry_items: Rows,
    shares: Weights,
    differences: Weights,
) -> int:
    """The items of the groups: which, by which place of the session, their share of the heaviest weight,
    and -2 times the difference of prices. Returns how many there are."""
    heaviest = _TINY
    for place in range(len(groups)):
        for column in range(partner.shape[1] if groups[place] >= 0 else 0):
            heaviest = max(heaviest, weight[groups[place], column])
    count = 0
    for place in range(len(groups)):
        within = CATEGORY if place < len(groups) - 1 else BRAND
        for column in range(partner.shape[1] if groups[place] >= 0 else 0):
            item = partner[groups[place], column]
            # A group may still hold an item that was replaced or is in another group now.
            if not 0 <= item < len(group) or group[item, within] != groups[place]:
                continue
            entry_items[count], places[count] = item, place
            shares[count] = max(weight[groups[place], column] / heaviest, _TINY)
            difference = np.float32(-2) * abs(price[item] - price[own[place]])
            same_category = group[item, CATEGORY] == group[own[place], CATEGORY] >= 0
            is_known = same_category and not np.isnan(difference)
            differences[count] = difference if is_known else _FAR
            count += 1
    return count


@inlined_bare
def _sum_entries(
    count: int,
    own: Rows,
    places: Rows,
    entry_items: Rows,
    entry_scores: Weights,
    position_weights: Weights,
    slots: Rows,
    items: Rows,
    scores: Weights,
    largest: Weights,
    reasons: Rows,
) -> int:
    """The distinct items of `count` entries, their sums and reasons; returns how many there are."""
    slots[:] = NO_ROW
    found, length = 0, len(position_weights)
    for entry in range(count):
        item, place = entry_items[entry], places[entry]
        score = entry_scores[entry] * position_weights[place if place < length else 0]
        index = find(item, slots, items)
        if index < 0:
            slots[-1 - index] = found
            items[found], reasons[found] = item, own[place]
            scores[found], largest[found] = score, score
            found += 1
        else:
            scores[index] += score
            if score > largest[index]:
                largest[index], reasons[index] = score, own[place]
    return found


@kernel(
    "void(int32[:, ::1], int32[:, ::1], float32[:, ::1], int32[:, ::1], float32[::1], uint64[::1],"
    "float32[::1], float32[::1], float32[::1], float32,"
    "int32[:, ::1], float32[:, ::1], int32[:, ::1])"
)
def content(
    context: Rows,
    partner: Rows,
    weight: Weights,
    group: Rows,
    price: Weights,
    name_hash: Hashes,
    similarity_weights: Weights,
    similarity_by_bits: Weights,
    position_weights: Weights,
    popularity_exponent: np.float32,
    out_item: Rows,
    out_score: Weights,
    out_reason: Rows,
) -> None:
    """Write the k best items of the groups of the newest items of each session.

    `partner` and `weight` are by group, `group`, `price` and `name_hash` by item. `position_weights` has
    the items of a session that count, newest first.
    """
    places_max = len(position_weights) + 1
    most = max(1, places_max * partner.shape[1])
    slots = np.empty(slots_for(most), np.int32)
    own, groups = np.empty((2, places_max), np.int32)
    items, reasons, places, entry_items, bits = np.empty((5, most), np.int32)
    scores, largest, shares, differences = np.empty((4, most), np.float32)
    for row in range(len(context)):
        _references(context, row, group, partner, own, groups)
        count = _entries(
            own, groups, partner, weight, group, price, places, entry_items, shares, differences
        )
        log_all(shares, count, bits)
        exp_all(differences, count, bits)
        for entry in range(count):
            shares[entry] = shares[entry] * popularity_exponent + (
                differences[entry] * similarity_weights[2]
                + _similarity_of_groups(
                    entry_items[entry], own[places[entry]], group, name_hash,
                    similarity_weights, similarity_by_bits,
                )
            )  # fmt: skip
        exp_all(shares, count, bits)
        count = _sum_entries(
            count, own, places, entry_items, shares, position_weights,
            slots, items, scores, largest, reasons,
        )  # fmt: skip
        select_best(
            items, scores, reasons, count, True, out_item[row], out_score[row], out_reason[row]
        )
