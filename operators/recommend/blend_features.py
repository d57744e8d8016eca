"""What the blend model reads: features of the items in the learners' lists, and the class of a context.

To be changed by measurement only (`make quality`); the shape of the stored weights follows from these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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


CONTEXT_CLASSES = 2 * (len(DEPTHS) + 1)


def context_class(context: Rows) -> NDArray[np.intp]:
    """The class of each context, newest item first [n, r] -> [n], below `CONTEXT_CLASSES`.

    Classes differ in the number of items (0, 1, 2 to 3, more) and in whether the newest is a repeat.

    >>> context_class(np.array([[-1, -1, -1], [7, -1, -1], [7, 5, 7]], np.int32)).tolist()
    [0, 2, 5]
    """
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
    values[..., 0], values[..., 1], values[..., 2], values[..., 3] = (
        1 / (1 + position),
        log_position,
        log_score,
        1,
    )
    values *= (item >= 0)[..., None]
    return values
