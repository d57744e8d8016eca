"""What the places of a session count: the newest item, the one before it, and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.models.sgd import adagrad_step
from operators.tables.table import TableState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Weights

LOG_DECAY_PER_POSITION = -0.7
"""What each step back counts less to begin with, as a logarithm."""


class PositionWeights(TableState):
    """Learned weights of places, others for sessions of one item, of two ... of r.

    counts float32[r, r]   of a session that holds 1, 2 ... r items, by place, as logarithms
    """

    def __init__(self, context_max: int, rate: float) -> None:
        self.rate = rate
        self.log_weights = (
            LOG_DECAY_PER_POSITION * np.tile(np.arange(context_max), (context_max, 1))
        ).astype(np.float32)
        self._squares = np.zeros_like(self.log_weights)

    def weights(self, known: NDArray[np.bool_]) -> Weights:
        """How much each place that holds something known[n, c] counts, float32[n, c]; 1 in all, or 0."""
        relative = np.exp(self.log_weights - self.log_weights.max(axis=1, keepdims=True))
        lengths = np.maximum(known.sum(axis=1), 1)
        weights: Weights = relative[lengths - 1, : known.shape[1]] * known
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1e-9))
        return weights

    def learn(self, weights: Weights, slopes: Weights, context_lengths: NDArray[np.intp]) -> None:
        """A step by shares[n, c], what each of them pulls at the loss, and how many items are held[n].

        The pulls of a session, weighed by its shares, are 0 in all.
        """
        has_length = context_lengths[:, None] == np.arange(1, weights.shape[1] + 1)
        gradient = has_length.astype(np.float32).T @ (weights * slopes)
        updated = np.flatnonzero(has_length.any(axis=0)).astype(np.int32)
        width = slice(weights.shape[1])
        adagrad_step(
            self.log_weights[:, width],
            self._squares[:, width],
            updated,
            gradient[updated],
            self.rate,
        )

    def scalars(self) -> Arrays:
        """What places count, copied."""
        return {"places": self.log_weights.copy(), "place_squares": self._squares.copy()}

    def restore(self, arrays: Arrays) -> None:
        """Take over what `scalars` gave."""
        self.log_weights = arrays["places"].astype(np.float32)
        self._squares = arrays["place_squares"].astype(np.float32)
