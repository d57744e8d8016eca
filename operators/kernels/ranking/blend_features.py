"""What the blend model reads: features of the items in the learners' lists, and the class of a context.

To be changed by measurement only (`make quality`); the shape of the stored weights follows from these.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare, kernel
from operators.kernels.ranking.vector_math import log_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

FEATURES = ("place", "log_place", "log_score", "listed")
"""Of an item in a learner's list: 1/position, the logarithm of the position, the logarithm of the score
over the first item's score, each scaled to 0..1, and 1 for being there."""
POSITIONS = 24
"""From this position on `log_place` is 0."""
SCORE_MIN = 1e-3
"""At this share of the best score `log_score` is 0."""
DEPTHS = (1, 2, 4)
"""Classes of contexts begin at so many items."""
CONTEXT_CLASSES = 2 * (len(DEPTHS) + 1)
_LOG_SCORE_MIN = np.float32(np.log(SCORE_MIN))
_SCORE_MIN = np.float32(SCORE_MIN)
_TINY = np.float32(np.finfo(np.float32).tiny)


@inlined_bare
def context_class(context: Rows, row: int) -> int:
    """The class of a session, newest item first: by how many items it has (0, 1, 2 to 3, more), and by
    whether the newest came back."""
    count, came_back, newest = 0, 0, context[row, 0]
    for position in range(context.shape[1]):
        item = context[row, position]
        if item >= 0:
            count += 1
            if position and item == newest:
                came_back = 1
    depth = 0
    for limit in DEPTHS:
        if count >= limit:
            depth += 1
    return 2 * depth + came_back


@kernel("void(int32[:, ::1], int8[::1])")
def context_classes(context: Rows, out_class: NDArray[np.int8]) -> None:
    """Write the class of each context, below `CONTEXT_CLASSES`.

    >>> out = np.empty(3, np.int8)
    >>> context_classes(np.array([[-1, -1, -1], [7, -1, -1], [7, 5, 7]], np.int32), out)
    >>> out.tolist()
    [0, 2, 5]
    """
    for row in range(len(context)):
        out_class[row] = context_class(context, row)


@inlined_bare
def log_scores(item: Rows, score: Weights, out: Weights, bits: Rows) -> None:
    """Write the feature `log_score` of each position of lists [learners, positions]."""
    column = 0
    for learner in range(item.shape[0]):
        best = max(score[learner, 0], _TINY) if item.shape[1] else _TINY
        for position in range(item.shape[1]):
            out[column] = max(score[learner, position] / best, _SCORE_MIN)
            column += 1
    log_all(out, column, bits)
    for index in range(column):
        out[index] = np.float32(1) - out[index] / _LOG_SCORE_MIN


@lru_cache(4)
def position_features(positions: int) -> tuple[Weights, Weights]:
    """The features `place` and `log_place` of each position: not to be changed."""
    position = np.arange(positions, dtype=np.float32)
    place: Weights = np.reciprocal(1 + position)
    log_place: Weights = np.maximum(1 - np.log1p(position) / np.log1p(np.float32(POSITIONS)), 0)
    return place, log_place
