"""Learned weights of the positions in a session: the newest item, the one before it, and so on.

The array names are stored. Oracle: the gradient of the loss of `session_factors`, which a test of that
model computes the slow way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.table import TableState

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Weights

LOG_DECAY_PER_POSITION = -0.7
"""Initial weights: each position back counts e^-0.7 as much as the one before it."""


class PositionWeights(TableState):
    """Weights of positions, separate for sessions of one item, of two ... of r.

    log_weights float32[r, r]   by number of items in the session, by position, as logarithms
    """

    def __init__(self, context_max: int, rate: float) -> None:
        self.rate = rate
        positions = np.tile(np.arange(context_max), (context_max, 1))
        self.log_weights = (LOG_DECAY_PER_POSITION * positions).astype(np.float32)
        self.squares = np.zeros_like(self.log_weights)
        """Sums of their squared gradients."""

    def weights(self, known: NDArray[np.bool_]) -> Weights:
        """The weight of each position that holds a known item, known[n, c] -> float32[n, c].

        The weights of a session sum to 1, or are all 0.
        """
        relative = self.relative_weights()
        lengths = np.maximum(known.sum(axis=1), 1)
        weights: Weights = relative[lengths - 1, : known.shape[1]] * known
        weights /= np.maximum(weights.sum(axis=1, keepdims=True), np.float32(1e-9))
        return weights

    def relative_weights(self) -> Weights:
        """The weights by number of items and by position, up to a factor for each number."""
        weights: Weights = np.exp(self.log_weights - self.log_weights.max(axis=1, keepdims=True))
        return weights

    def scalars(self) -> Arrays:
        """The whole state, copied."""
        return {"places": self.log_weights.copy(), "place_squares": self.squares.copy()}

    def restore(self, arrays: Arrays) -> None:
        """Restore what `scalars` gave."""
        self.log_weights = arrays["places"].astype(np.float32)
        self.squares = arrays["place_squares"].astype(np.float32)
