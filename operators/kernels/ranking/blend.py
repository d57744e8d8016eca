"""The kernels of the blend: lists of several learners as one, and what teaches the weights.

Lists are item int32 and score float32 of several learners, `weights` those of each class of contexts
[classes, learners, FEATURES]. Their plain references: tests/reference/blend.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare, kernel
from operators.kernels.ranking.blend_features import context_class, log_scores
from operators.kernels.ranking.item_sums import NO_ROW, find, select_best, slots_for
from operators.kernels.ranking.vector_math import exp_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

    Starts = NDArray[np.int64]
    Feedback = tuple[
        *tuple[Starts, Rows, Weights],
        *tuple[Starts, Rows, Weights],
        *tuple[Weights, Weights, np.float32, np.float32],
    ]
    """Feedback on items. Pairs of the shoppers of n requests, turned down and then shown: where those of
    each request start, items, weights. By item: clicks and exposure. The clicks by exposure, and a prior
    that both clicks and expected clicks get."""

_PAIRS = "int64[::1], int32[::1], float32[::1]"
_FEEDBACK = f"Tuple(({_PAIRS}, {_PAIRS}, float32[::1], float32[::1], float32, float32))"


@inlined_bare
def _sum_candidates(
    item: Rows,
    score: Weights,
    weights: Weights,
    place: Weights,
    log_place: Weights,
    slots: Rows,
    items: Rows,
    sums: Weights,
    index_of: Rows,
    features: Weights,
    added: Weights,
) -> int:
    """The items of the lists [learners, positions] of one request, and the sum that each gets.

    Writes for each position the index of its item (NO_ROW for none), its `log_score`, and what it adds.
    """
    count, column = 0, 0
    slots[:] = NO_ROW
    log_scores(item, score, features, index_of)
    for learner in range(item.shape[0]):
        weight = weights[learner]
        for position in range(item.shape[1]):
            one = item[learner, position]
            index_of[column] = NO_ROW
            if one >= 0:
                gain = np.float32(
                    ((place[position] * weight[0] + log_place[position] * weight[1])
                    + features[column] * weight[2])
                    + weight[3]
                )  # fmt: skip
                added[column] = gain
                index = find(one, slots, items)
                if index < 0:
                    slots[-1 - index] = count
                    index = count
                    items[index], sums[index] = one, gain
                    count += 1
                else:
                    sums[index] += gain
                index_of[column] = index
            column += 1
    return count


@inlined_bare
def _add_feedback(
    row: int,
    feedback: Feedback,
    weights: Weights,
    slots: Rows,
    items: Rows,
    count: int,
    sums: Weights,
    features: Weights,
) -> None:
    """Write the feedback features of the items of a request, and add them, weighted, to their sums."""
    turned_down_starts, turned_down_item, turned_down = feedback[0], feedback[1], feedback[2]
    shown_starts, shown_item, shown = feedback[3], feedback[4], feedback[5]
    clicks, exposure, click_rate, prior = feedback[6], feedback[7], feedback[8], feedback[9]
    if not (len(turned_down) or len(shown) or len(clicks)):
        return
    features[:count] = 0
    for pair in range(turned_down_starts[row], turned_down_starts[row + 1]):
        index = find(turned_down_item[pair], slots, items)
        if index >= 0:
            features[index, 0] = min(turned_down[pair], np.float32(1))
    for pair in range(shown_starts[row], shown_starts[row + 1]):
        index = find(shown_item[pair], slots, items)
        if index >= 0:
            features[index, 1] = np.log1p(shown[pair])
    for index in range(count):
        item = items[index]
        if item < len(clicks):
            expected = click_rate * exposure[item] + prior
            features[index, 2] = np.log((clicks[item] + prior) / expected)
        sums[index] += (
            (features[index, 0] * weights[0] + features[index, 1] * weights[1])
            + features[index, 2] * weights[2]
        )  # fmt: skip


@inlined_bare
def _to_probabilities(sums: Weights, count: int, bits: Rows) -> None:
    """A softmax of the first `count` numbers, in place."""
    largest = np.float32(-np.inf)
    for index in range(count):
        largest = max(largest, sums[index])
    for index in range(count):
        sums[index] -= largest
    exp_all(sums, count, bits)
    total = np.float32(0)
    for index in range(count):
        total += sums[index]
    for index in range(count):
        sums[index] /= total


@kernel(
    "void(int32[:, :, ::1], float32[:, :, ::1], int32[:, :, ::1], int32[:, ::1],"
    f"float32[:, :, ::1], float32[::1], float32[::1], {_FEEDBACK}, float32[::1], int64, int64,"
    "int32[:, ::1], float32[:, ::1], int32[:, ::1])"
)
def blend(
    item: Rows,
    score: Weights,
    reason_item: Rows,
    context: Rows,
    weights: Weights,
    place: Weights,
    log_place: Weights,
    feedback: Feedback,
    feedback_weights: Weights,
    first: int,
    end: int,
    out_item: Rows,
    out_score: Weights,
    out_reason: Rows,
) -> None:
    """Write the k likeliest items of the requests `first` to `end`, of lists [learners, n, positions].

    The reason is that of the learner that adds most, or the learner's code where it names none.
    """
    learners, positions = item.shape[0], item.shape[2]
    most = learners * positions
    slots, feedback_features = (
        np.empty(slots_for(most), np.int32),
        np.empty((most, len(feedback_weights)), np.float32),
    )
    items, index_of, reasons = np.empty((3, most), np.int32)
    sums, features, added, largest = np.empty((4, most), np.float32)
    for row in range(first, end):
        count = _sum_candidates(
            item[:, row], score[:, row], weights[context_class(context, row)], place, log_place,
            slots, items, sums, index_of, features, added,
        )  # fmt: skip
        largest[:count] = -np.inf
        for column in range(most):
            index = index_of[column]
            if index >= 0 and added[column] > largest[index]:
                largest[index] = added[column]
                learner = column // positions
                reason = reason_item[learner, row, column - learner * positions]
                reasons[index] = reason if reason >= 0 else NO_ROW - 1 - learner
        _add_feedback(
            row, feedback, feedback_weights, slots, items, count, sums, feedback_features
        )  # fmt: skip
        _to_probabilities(sums, count, index_of)
        select_best(
            items, sums, reasons, count, False, out_item[row], out_score[row], out_reason[row]
        )


@kernel(
    "void(int32[:, :, ::1], float32[:, :, ::1], int64[::1], int32[:, ::1], float32[:, :, ::1],"
    "float32[::1], float32[::1], int32[:, ::1], int8[:, ::1])"
)
def contributions(
    item: Rows,
    score: Weights,
    rows: NDArray[np.int64],
    context: Rows,
    weights: Weights,
    place: Weights,
    log_place: Weights,
    final_item: Rows,
    out_learner: NDArray[np.int8],
) -> None:
    """Write which learner adds most to each item of the final lists of some rows; NO_ROW for none."""
    most = item.shape[0] * item.shape[2]
    slots = np.empty(slots_for(most), np.int32)
    items, index_of = np.empty((2, most), np.int32)
    sums, features, added, largest = np.empty((4, most), np.float32)
    learner_of = np.empty(most, np.int8)
    out_learner[:] = NO_ROW
    for out in range(len(rows)):
        row = rows[out]
        count = _sum_candidates(
            item[:, row], score[:, row], weights[context_class(context, row)], place, log_place,
            slots, items, sums, index_of, features, added,
        )  # fmt: skip
        largest[:count] = -np.inf
        for column in range(most):
            index = index_of[column]
            if index >= 0 and added[column] > largest[index]:
                largest[index] = added[column]
                learner_of[index] = column // item.shape[2]
        for position in range(final_item.shape[1]):
            one = final_item[row, position]
            index = find(one, slots, items) if one >= 0 else -1
            if index >= 0:
                out_learner[out, position] = learner_of[index]


@kernel(
    "void(int32[:, :, ::1], float32[:, :, ::1], int8[::1], int32[::1], float32[:, :, ::1],"
    f"float32[::1], float32[::1], {_FEEDBACK}, float32[::1],"
    "float32[:, :, ::1], float64[::1])"
)
def gradients(
    item: Rows,
    score: Weights,
    classes: NDArray[np.int8],
    clicked: Rows,
    weights: Weights,
    place: Weights,
    log_place: Weights,
    feedback: Feedback,
    feedback_weights: Weights,
    out_gradient: Weights,
    out_feedback_gradient: NDArray[np.float64],
) -> None:
    """Write the gradient of the log-likelihood of each click after lists [n, learners, positions].

    A click that no list holds teaches nothing. The gradients of the feedback weights are added up.
    """
    positions = item.shape[2]
    most = item.shape[1] * positions
    slots, feedback_features = (
        np.empty(slots_for(most), np.int32),
        np.zeros((most, len(feedback_weights)), np.float32),
    )
    items, index_of, bits = np.empty((3, most), np.int32)
    sums, features, added = np.empty((3, most), np.float32)
    for row in range(len(clicked)):
        count = _sum_candidates(
            item[row], score[row], weights[classes[row]], place, log_place,
            slots, items, sums, index_of, features, added,
        )  # fmt: skip
        next_index = find(clicked[row], slots, items)
        out_gradient[row] = 0
        if next_index < 0:
            continue
        _add_feedback(
            row, feedback, feedback_weights, slots, items, count, sums, feedback_features
        )  # fmt: skip
        _to_probabilities(sums, count, bits)
        for index in range(count):
            sums[index] = (index == next_index) - sums[index]
            for feature in range(len(feedback_weights)):
                out_feedback_gradient[feature] += sums[index] * feedback_features[index, feature]
        for column in range(most):
            if index_of[column] >= 0:
                learner, residual = column // positions, sums[index_of[column]]
                position = column - learner * positions
                out_gradient[row, learner, 0] += residual * place[position]
                out_gradient[row, learner, 1] += residual * log_place[position]
                out_gradient[row, learner, 2] += residual * features[column]
                out_gradient[row, learner, 3] += residual
