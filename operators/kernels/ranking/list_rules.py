"""The kernels of the list rules: find pairs of shoppers in lists, leave out items, count repurchases.

Their plain references: tests/reference/list_rules.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import kernel
from operators.kernels.ranking.item_sums import NO_ROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

    Flags = NDArray[np.bool_]


@kernel("void(int32[:, ::1], int64[::1], int32[::1], boolean[::1], boolean[:, ::1])")
def mark_pairs(
    item: Rows, starts: NDArray[np.int64], pair_item: Rows, counts: Flags, out_marked: Flags
) -> None:
    """Mark where lists [n, w] hold an item of a pair of their shopper that counts.

    The pairs of a shopper lie between two of `starts`.
    """
    for row in range(len(item)):
        for pair in range(starts[row], starts[row + 1]):
            if counts[pair]:
                for place in range(item.shape[1]):
                    if item[row, place] == pair_item[pair]:
                        out_marked[row, place] = True


@kernel(
    "void(int32[:, ::1], float32[:, ::1], int32[:, ::1], boolean[:, ::1],"
    "int32[:, ::1], float32[:, ::1], int32[:, ::1])"
)
def leave_out(
    item: Rows,
    score: Weights,
    reason_item: Rows,
    removed: Flags,
    out_item: Rows,
    out_score: Weights,
    out_reason: Rows,
) -> None:
    """Write the first k items of lists that are not marked as removed, padded at the end."""
    for row in range(len(item)):
        count = 0
        for place in range(item.shape[1]):
            if item[row, place] < 0 or removed[row, place]:
                continue
            if count == out_item.shape[1]:
                break
            out_item[row, count] = item[row, place]
            out_score[row, count] = score[row, place]
            out_reason[row, count] = reason_item[row, place]
            count += 1
        for place in range(count, out_item.shape[1]):
            out_item[row, place], out_reason[row, place] = NO_ROW, NO_ROW
            out_score[row, place] = 0


@kernel("void(int32[:, ::1], int32[:, ::1], boolean[:, ::1])")
def mark_contained(item: Rows, excluded: Rows, out_marked: Flags) -> None:
    """Mark the items of lists [n, w] that are in the same line of `excluded` [n, h]; no padding."""
    for row in range(len(item)):
        for place in range(item.shape[1]):
            one = item[row, place]
            is_contained = False
            for column in range(excluded.shape[1]):
                is_contained |= excluded[row, column] == one
            out_marked[row, place] = is_contained and one >= 0


@kernel("void(int32[::1], float32[::1], float32[::1], int32[::1], int64, float64, float32[::1])")
def repurchase_shares(
    item: Rows,
    buyers: Weights,
    repeat_buyers: Weights,
    category: Rows,
    categories: int,
    prior_buyers: float,
    out_share: Weights,
) -> None:
    """Write the share of the buyers of items who bought them again.

    An item counts as `prior_buyers` more with the share of its category, and a category as as many more
    with that of the shop. An item beyond `category`, or below 0 there, has none.
    """
    by_category, again_by_category = np.zeros((2, categories + 1))
    place_of = np.full(len(buyers), categories)
    for row in range(min(len(buyers), len(category))):
        if 0 <= category[row] < categories:
            place_of[row] = category[row]
    shop_buyers, shop_again = 0.0, 0.0
    for row in range(len(buyers)):
        place = place_of[row]
        by_category[place] += buyers[row]
        again_by_category[place] += repeat_buyers[row]
        shop_buyers += buyers[row]
        shop_again += repeat_buyers[row]
    shop = shop_again / max(shop_buyers, 1.0)
    for index in range(len(item)):
        row = item[index]
        prior, place = shop, place_of[row]
        if place < categories:
            prior = (again_by_category[place] + prior_buyers * shop) / (
                by_category[place] + prior_buyers
            )
        out_share[index] = (repeat_buyers[row] + prior_buyers * prior) / (
            buyers[row] + prior_buyers
        )
