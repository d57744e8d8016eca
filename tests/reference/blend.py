"""The plain forms of the kernels of the blend: array operations over whole batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking.blend_features import DEPTHS, FEATURES, POSITIONS, SCORE_MIN
from operators.tables.array_ops import run_starts
from operators.tables.score_sums import top_k
from state.arrays import NO_ROW
from tests.reference.score_sums import best_sources, sum_by_item

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.kernels.ranking.blend import Feedback
    from operators.tables.score_sums import ScoreSums
    from state.arrays import Rows, Weights
    from state.interactions import ScoredLists


def context_class(context: Rows) -> NDArray[np.intp]:
    """The class of each context, newest item first [n, r] -> [n]."""
    depth = np.searchsorted(DEPTHS, (context >= 0).sum(axis=1), side="right")
    newest = context[:, :1]
    came_back = ((context[:, 1:] == newest) & (newest >= 0)).any(axis=1)
    return np.asarray(2 * depth + came_back, np.intp)


def features(item: Rows, score: Weights) -> Weights:
    """Lists [n, learners, positions] as float32[n, learners, positions, FEATURES], 0 without an item."""
    position = np.arange(item.shape[2], dtype=np.float32)
    log_position = np.maximum(1 - np.log1p(position) / np.log1p(np.float32(POSITIONS)), 0)
    best = np.maximum(score[:, :, :1], np.finfo(np.float32).tiny)
    log_score = 1 - np.log(np.maximum(score / best, SCORE_MIN)) / np.log(SCORE_MIN)
    values = np.empty((*item.shape, len(FEATURES)), np.float32)
    values[..., 0], values[..., 1] = 1 / (1 + position), log_position
    values[..., 2], values[..., 3] = log_score, 1
    values *= (item >= 0)[..., None]
    return values


def scores(values: Weights, classes: NDArray[np.integer], weights: Weights) -> Weights:
    """What each position adds to the score of its item, float32[n, learners * positions]."""
    added: Weights = np.matmul(values, weights[classes][..., None])[..., 0]
    return added.reshape(len(values), values.shape[1] * values.shape[2])


def feedback_features(summed: ScoreSums, feedback: Feedback) -> Weights:
    """The feedback features of summed items, float32[s, 3]."""
    values = np.zeros((len(summed.item), 3), np.float32)
    for column, (starts, item, weight) in enumerate((feedback[:3], feedback[3:6])):
        for place, (row, one) in enumerate(zip(summed.row, summed.item, strict=True)):
            pairs = slice(starts[row], starts[row + 1])
            for other, much in zip(item[pairs], weight[pairs], strict=True):
                if one == other:
                    values[place, column] = np.log1p(much) if column else min(much, 1)
    clicks, exposure, rate, prior = feedback[6:]
    known = summed.item < len(clicks)
    rows = summed.item[known]
    values[known, 2] = np.log((clicks[rows] + prior) / (rate * exposure[rows] + prior))
    return values


def probabilities(row: NDArray[np.intp], score: Weights) -> Weights:
    """The probability of each summed item among those of its request."""
    if not len(row):
        return score
    first = run_starts(row)
    count = np.diff(first, append=len(row))
    probability = np.exp(score - np.repeat(np.maximum.reduceat(score, first), count))
    probability /= np.repeat(np.add.reduceat(probability, first), count)
    return np.asarray(probability, np.float32)


def blend(
    item: Rows,
    score: Weights,
    reason_item: Rows,
    context: Rows,
    weights: Weights,
    feedback: Feedback,
    feedback_weights: Weights,
    k: int,
) -> ScoredLists:
    """The k likeliest items of each request, of lists [n, learners, positions]."""
    added = scores(features(item, score), context_class(context), weights)
    summed = sum_by_item(item.reshape(added.shape), added)
    codes = NO_ROW - 1 - np.arange(item.shape[1], dtype=np.int32)[:, None]
    reasons = np.where(reason_item >= 0, reason_item, codes)
    reason = reasons.ravel()[best_sources(summed, added)] if len(summed.item) else summed.item
    total = summed.score + feedback_features(summed, feedback) @ feedback_weights
    return top_k(summed, probabilities(summed.row, total), reason, len(item), k)


def contributions(
    item: Rows, score: Weights, context: Rows, weights: Weights, final_item: Rows
) -> NDArray[np.int8]:
    """The learner that adds most to each item of the final lists [n, k]."""
    added = scores(features(item, score), context_class(context), weights).reshape(item.shape)
    learner_index = np.full(final_item.shape, NO_ROW, np.int8)
    best_score = np.full(final_item.shape, -np.inf, np.float32)
    for index in range(item.shape[1]):
        same = item[:, index, :, None] == final_item[:, None, :]
        learner_score = np.where(same, added[:, index, :, None], -np.inf).max(
            axis=1, initial=-np.inf
        )
        learner_index[learner_score > best_score] = index
        np.maximum(best_score, learner_score, out=best_score)
    learner_index[final_item < 0] = NO_ROW
    return learner_index


def gradients(
    item: Rows,
    score: Weights,
    classes: NDArray[np.integer],
    clicked: Rows,
    weights: Weights,
    feedback: Feedback,
    feedback_weights: Weights,
) -> tuple[Weights, Weights]:
    """The gradient of each click [n, learners, FEATURES], and that of the feedback weights."""
    n = len(clicked)
    values = features(item, score)
    summed = sum_by_item(
        item.reshape(n, item.shape[1] * item.shape[2]), scores(values, classes, weights)
    )
    told = feedback_features(summed, feedback)
    is_next = summed.item == clicked[summed.row]
    hit = np.bincount(summed.row[is_next], minlength=n) > 0
    probability = probabilities(summed.row, summed.score + told @ feedback_weights)
    residual = np.where(hit[summed.row], is_next - probability, 0)
    by_column = np.zeros(item.size, np.float32)
    by_column[summed.source] = np.repeat(residual, summed.sizes)
    gradient = np.matmul(by_column.reshape(n, item.shape[1], 1, item.shape[2]), values)[:, :, 0]
    return gradient, residual @ told
