"""The kernel of `operators.recommend.candidates.factors`: candidates in the order of session factors.

Its plain reference: tests/reference/factors.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare, inlined_sums, kernel
from operators.kernels.ranking.item_sums import NO_ROW, find, select_best, slots_for
from operators.kernels.ranking.vector_math import exp_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

NORM_MIN = np.float32(1e-6)
_WEIGHT_MIN = np.float32(1e-9)


@inlined_sums
def dot(vectors: Weights, row: int, other: Weights) -> np.float32:
    """The product of a row of `vectors` and a vector."""
    total = np.float32(0)
    for column in range(vectors.shape[1]):
        total += vectors[row, column] * other[column]
    return total


@inlined_bare
def is_known(item: int, popularity: NDArray[np.float64]) -> bool:
    """Whether an item was ever learned."""
    return 0 <= item < len(popularity) and popularity[item] > 0


@inlined_bare
def weigh_context(
    context: Rows,
    row: int,
    popularity: NDArray[np.float64],
    position_weights: Weights,
    out: Weights,
) -> int:
    """Write the weight of each position of a session, 0 for an unknown item; returns how many are known.

    `position_weights` are by number of known items and by position.
    """
    known = 0
    for position in range(len(out)):
        out[position] = is_known(context[row, position], popularity)
        known += int(out[position])
    total = np.float32(0)
    for position in range(len(out)):
        if out[position]:
            out[position] = position_weights[known - 1, position]
        total += out[position]
    for position in range(len(out)):
        out[position] /= max(total, _WEIGHT_MIN)
    return known


@inlined_sums
def write_session(
    context: Rows, row: int, weights: Weights, vectors: Weights, out: Weights
) -> np.float32:
    """Write the weighted mean of the vectors of a session's items, at length 1; the length it had."""
    out[:] = 0
    for position in range(len(weights)):
        if weights[position] > 0:
            item = context[row, position]
            for column in range(len(out)):
                out[column] += weights[position] * vectors[item, column]
    squares = np.float32(0)
    for column in range(len(out)):
        squares += out[column] * out[column]
    norm: np.float32 = np.sqrt(squares) + NORM_MIN
    for column in range(len(out)):
        out[column] /= norm
    return norm


@inlined_bare
def _reason(item: int, context: Rows, row: int, weights: Weights, vectors: Weights) -> int:
    """The item of the session that adds most to an item's score; NO_ROW if none adds anything."""
    largest, reason = np.float32(0), NO_ROW
    for position in range(len(weights)):
        if weights[position] > 0:
            viewed = context[row, position]
            added = dot(vectors, item, vectors[viewed]) * weights[position]
            if added > largest:
                largest, reason = added, viewed
    return reason


@kernel(
    "void(int32[:, ::1], int32[:, ::1], float32[:, ::1], float32[::1], float64[::1],"
    "float32[:, ::1], float32, int32[:, ::1], float32[:, ::1], int32[:, ::1])"
)
def rerank(
    candidates: Rows,
    context: Rows,
    vectors: Weights,
    bias: Weights,
    popularity: NDArray[np.float64],
    position_weights: Weights,
    inverse_temperature: np.float32,
    out_item: Rows,
    out_score: Weights,
    out_reason: Rows,
) -> None:
    """Write the k likeliest of the candidates of each request; a score is over that of the first.

    Unknown items are left out, and so are all candidates of a session without a known item.
    """
    width = candidates.shape[1]
    weights = np.empty(min(context.shape[1], position_weights.shape[1]), np.float32)
    session = np.empty(vectors.shape[1], np.float32)
    slots = np.empty(slots_for(width), np.int32)
    items, bits = np.empty((2, width), np.int32)
    scores, no_reason = np.empty(width, np.float32), np.full(width, NO_ROW, np.int32)
    for row in range(len(candidates)):
        count = 0
        if weigh_context(context, row, popularity, position_weights, weights):
            write_session(context, row, weights, vectors, session)
            slots[:] = NO_ROW
            largest = np.float32(-np.inf)
            for place in range(width):
                item = candidates[row, place]
                if not is_known(item, popularity):
                    continue
                index = find(item, slots, items)
                if index < 0:
                    slots[-1 - index] = count
                    items[count] = item
                    scores[count] = dot(vectors, item, session) * inverse_temperature + bias[item]
                    largest = max(largest, scores[count])
                    count += 1
            for index in range(count):
                scores[index] -= largest
            exp_all(scores, count, bits)
        found = select_best(
            items, scores, no_reason, count, False, out_item[row], out_score[row], out_reason[row]
        )
        for place in range(found):
            out_reason[row, place] = _reason(out_item[row, place], context, row, weights, vectors)
