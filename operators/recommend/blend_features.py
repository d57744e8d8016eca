"""What the blend model reads: features of the items in the learners' lists, and the class of a context.

To be changed by measurement only (`make quality`); the shape of the stored weights follows from these.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

    FeedbackFeatures = Callable[[NDArray[np.intp], Rows], Weights]
    """Signs of items, float32[n, signs], by the rows they are listed in; both ascend together."""

FEATURES = ("place", "log_place", "log_score", "listed")
"""Of an item in a learner's list: 1/place, how early by the logarithm, score against the first one's
by the logarithm, and that it is there."""


POSITIONS = 24
"""From this place on `log_position` says nothing."""


SCORE_MIN = 1e-3
"""A share of the best score at which `log_score` says nothing."""


DEPTHS = (1, 2, 4)


CONTEXT_CLASSES = 2 * (len(DEPTHS) + 1)


def context_class(context: Rows) -> NDArray[np.intp]:
    """What kind of moment it is, by contexts newest first [n, r] -> [n], below `CONTEXT_CLASSES`.

    How many items the session holds, 0, 1, 2 to 3, or more, and whether the newest was there before.

    >>> context_class(np.array([[-1, -1, -1], [7, -1, -1], [7, 5, 7]], np.int32)).tolist()
    [0, 2, 5]
    """
    depth = np.searchsorted(DEPTHS, (context >= 0).sum(axis=1), side="right")
    newest = context[:, :1]
    came_back = ((context[:, 1:] == newest) & (newest >= 0)).any(axis=1)
    return np.asarray(2 * depth + came_back, np.intp)


def features(item: Rows, score: Weights) -> Weights:
    """Lists [n, learners, places] as float32[n, learners, places, FEATURES], 0 where nothing is."""
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
