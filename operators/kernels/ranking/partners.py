"""The kernels of lists that come from tables of partners: co-visitation, and the items of a session.

Their plain references: tests/reference/candidates.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import kernel
from operators.kernels.ranking.item_sums import (
    NO_ROW,
    distinct_context,
    find,
    pairwise_sum,
    select_best,
    slots_for,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

_TINY = np.float32(np.finfo(np.float32).tiny)


@kernel(
    "void(int32[:, ::1], int32[:, ::1], float32[:, ::1], float32[::1], int32[:, ::1],"
    "float32[:, ::1], int32[:, ::1])"
)
def covisitation(
    context: Rows,
    partner: Rows,
    weight: Weights,
    position_shares: Weights,
    out_item: Rows,
    out_score: Weights,
    out_reason: Rows,
) -> None:
    """Write the k best partners of the newest items of each session, by the sum of their shares.

    `position_shares` has the items of a session that count, newest first.
    """
    length, width = len(position_shares), partner.shape[1]
    most = max(1, length * width)
    slots, own = np.empty(slots_for(most), np.int32), np.empty(length, np.int32)
    items, reasons = np.empty((2, most), np.int32)
    scores, largest = np.empty((2, most), np.float32)
    for row in range(len(context)):
        distinct_context(context, row, length, own)
        slots[:] = NO_ROW
        count = 0
        for position in range(length):
            viewed = own[position]
            if viewed < 0 or viewed >= len(partner):
                continue
            share = position_shares[position] / max(pairwise_sum(weight, viewed), _TINY)
            for column in range(width):
                item = partner[viewed, column]
                if item < 0:
                    continue
                score = weight[viewed, column] * share
                index = find(item, slots, items)
                if index < 0:
                    slots[-1 - index] = count
                    items[count], reasons[count] = item, viewed
                    scores[count], largest[count] = score, score
                    count += 1
                else:
                    scores[index] += score
                    if score > largest[index]:
                        largest[index], reasons[index] = score, viewed
        select_best(
            items, scores, reasons, count, True, out_item[row], out_score[row], out_reason[row]
        )


@kernel(
    "void(int32[:, ::1], boolean[::1], float32[::1], boolean, int32[:, ::1], float32[:, ::1],"
    "int32[:, ::1])"
)
def revisits(
    context: Rows,
    known: NDArray[np.bool_],
    position_weights: Weights,
    adds_up: bool,
    out_item: Rows,
    out_score: Weights,
    out_reason: Rows,
) -> None:
    """Write the k best known items of each session itself, each its own reason.

    An item that is in a session more than once has the weight of its newest position, or the sum.
    """
    length = context.shape[1]
    items, scores = np.empty(length, np.int32), np.empty(length, np.float32)
    for row in range(len(context)):
        count = 0
        for position in range(length):
            item = context[row, position]
            if not (0 <= item < len(known) and known[item]):
                continue
            index = 0
            while index < count and items[index] != item:
                index += 1
            if index == count:
                items[count], scores[count] = item, position_weights[position]
                count += 1
            elif adds_up:
                scores[index] += position_weights[position]
        select_best(
            items, scores, items, count, True, out_item[row], out_score[row], out_reason[row]
        )
