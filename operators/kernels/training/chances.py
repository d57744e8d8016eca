"""The kernels of a chance: standard scores, logistic regression and evaluation, a lot of points a call.

Plain reference: `tests/reference/chances.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare, kernel
from operators.kernels.training.scaling import merge_rows, update_std

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_EPSILON = 1e-8
_SMALLEST = 1e-7


@inlined_bare
def standard_score(value: float, mean: float, inverse: float, score_max: float) -> float:
    """The standard score of a value, at most `score_max` in size."""
    return min(max((value - mean) * inverse, -score_max), score_max)


@inlined_bare
def logistic(raw: float, raw_max: float) -> float:
    """The chance that a raw score stands for; raw scores are clipped at `raw_max`."""
    chance: float = 1.0 / (1.0 + np.exp(-min(max(raw, -raw_max), raw_max)))
    return chance


@kernel(
    "void(float64[:, ::1], float64[::1], float64[::1], float64[::1], float64, float64, float64,"
    "float64[::1])",
    allocates=False,
)
def estimate_chances(
    points: Floats,
    weights: Floats,
    mean: Floats,
    inverse: Floats,
    score_max: float,
    raw_max: float,
    odds_ratio: float,
    out: Floats,
) -> None:
    """Write the chance of each point, its odds multiplied by `odds_ratio`.

    `weights` are the intercept, then a weight a feature.
    """
    for row in range(len(points)):
        raw = weights[0]
        for column in range(len(mean)):
            raw += weights[1 + column] * standard_score(
                points[row, column], mean[column], inverse[column], score_max
            )
        chance = logistic(raw, raw_max)
        odds = chance * odds_ratio
        out[row] = odds / (1.0 - chance + odds)


@inlined_bare
def _step(
    scores: Floats,
    outcomes: Floats,
    start: int,
    count: int,
    raw_max: float,
    rate: float,
    slopes: Floats,
    weights: Floats,
    squares: Floats,
) -> float:
    """One AdaGrad step for the scores of a block; returns the sum of the chances before it.

    `rate` is by point and by step: of the mean slope and of the step along it.
    """
    expected = 0.0
    slopes[:] = 0.0
    for row in range(count):
        raw = weights[0]
        for column in range(scores.shape[1]):
            raw += weights[1 + column] * scores[row, column]
        chance = logistic(raw, raw_max)
        expected += chance
        gap = chance - outcomes[start + row]
        slopes[0] += gap
        for column in range(scores.shape[1]):
            slopes[1 + column] += gap * scores[row, column]
    for column in range(len(slopes)):
        slope = slopes[column] / len(scores)
        squares[column] += slope * slope
        weights[column] -= rate * slope / np.sqrt(squares[column] + _EPSILON)
    return expected


@kernel(
    "float64(float64[:, ::1], float64[::1], int64, boolean, float64, float64, float64, float64,"
    "float64, float64[::1], float64[::1], float64[::1], float64[::1], float64[::1], float64[::1],"
    "int64[::1], float64[::1])"
)
def learn_chances(
    points: Floats,
    outcomes: Floats,
    block: int,
    is_young: bool,
    half_life: float,
    score_max: float,
    raw_max: float,
    rate: float,
    scaler_weight: float,
    mean: Floats,
    scaler_squares: Floats,
    std: Floats,
    inverse: Floats,
    weights: Floats,
    squares: Floats,
    labels: NDArray[np.int64],
    recent: Floats,
) -> float:
    """Learn outcomes of points, oldest first, `block` at a time; returns the scaler's weight after it.

    While the model `is_young`, the intercept is set to the base rate of `labels` (negative, positive)
    before each block. `recent` are sums of positives, of chances before they were learned, and of
    outcomes, which count half after `half_life` outcomes.
    """
    n_columns = len(mean)
    sums, slopes = np.empty((2, n_columns)), np.empty(1 + n_columns)
    scores = np.empty((block, n_columns))
    for start in range(0, len(points), block):
        end = min(start + block, len(points))
        count = end - start
        scaler_weight = merge_rows(
            points, start, end, 0.0, scaler_weight, mean, scaler_squares, sums
        )
        update_std(scaler_weight, mean, scaler_squares, std, inverse)
        if is_young:
            weights[0] = np.log((labels[1] + 0.5) / (labels[0] + 0.5))
        positives = 0.0
        for row in range(count):
            positives += outcomes[start + row]
            for column in range(n_columns):
                scores[row, column] = standard_score(
                    points[start + row, column], mean[column], inverse[column], score_max
                )
        expected = _step(scores, outcomes, start, count, raw_max, rate, slopes, weights, squares)
        labels[0] += count - np.int64(positives)
        labels[1] += np.int64(positives)
        if not is_young:
            decay = 0.5 ** (count / half_life)
            recent[0] = recent[0] * decay + positives
            recent[1] = recent[1] * decay + expected
            recent[2] = recent[2] * decay + count
    return scaler_weight


@kernel(
    "float64(float64[::1], float64[::1], float64, float64, float64, float64[::1], float64[::1],"
    "float64[::1])",
    allocates=False,
)
def evaluate_chances(
    chances: Floats,
    outcomes: Floats,
    half_life: float,
    logit_max: float,
    loss: float,
    negative: Floats,
    positive: Floats,
    predicted: Floats,
) -> float:
    """Add chances and outcomes to sums by bin of the log odds; returns the sum of log losses after it.

    All sums count half after `half_life` outcomes.
    """
    bins = len(negative)
    decay = 0.5 ** (len(chances) / half_life)
    for column in range(bins):
        negative[column] *= decay
        positive[column] *= decay
        predicted[column] *= decay
    loss *= decay
    for row in range(len(chances)):
        # This way round NaN, of an estimator gone wrong, is the smallest: its place is in the table.
        chance = min(chances[row], 1.0 - _SMALLEST) if chances[row] > _SMALLEST else _SMALLEST
        log_yes, log_no = np.log(chance), np.log1p(-chance)
        place = (log_yes - log_no + logit_max) * (bins / (2.0 * logit_max))
        column = int(min(max(place, 0.0), bins - 1.0))
        outcome = outcomes[row]
        negative[column] += 1.0 - outcome
        positive[column] += outcome
        predicted[column] += chance
        loss -= outcome * log_yes + (1.0 - outcome) * log_no
    return loss
