"""What the places of a session count: the newest item, the one before it, and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.models.sgd import step
from operators.tables.table import Kept

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Weights

FADING = -0.7
"""What each step back counts less to begin with, as a logarithm."""


class Places(Kept):
    """Learned weights of places, others for sessions of one item, of two ... of r.

    counts float32[r, r]   of a session that holds 1, 2 ... r items, by place, as logarithms
    """

    def __init__(self, most: int, rate: float) -> None:
        self.rate = rate
        self.counts = (FADING * np.tile(np.arange(most), (most, 1))).astype(np.float32)
        self._squares = np.zeros_like(self.counts)

    def shares(self, known: NDArray[np.bool_]) -> Weights:
        """How much each place that holds something known[n, c] counts, float32[n, c]; 1 in all, or 0."""
        counts = np.exp(self.counts - self.counts.max(axis=1, keepdims=True))
        held = np.maximum(known.sum(axis=1), 1)
        share: Weights = counts[held - 1, : known.shape[1]] * known
        share /= np.maximum(share.sum(axis=1, keepdims=True), np.float32(1e-9))
        return share

    def learn(self, share: Weights, pull: Weights, held: NDArray[np.intp]) -> None:
        """A step by shares[n, c], what each of them pulls at the loss, and how many items are held[n].

        The pulls of a session, weighed by its shares, are 0 in all.
        """
        is_long = held[:, None] == np.arange(1, share.shape[1] + 1)
        gradient = is_long.astype(np.float32).T @ (share * pull)
        lengths = np.flatnonzero(is_long.any(axis=0)).astype(np.int32)
        width = slice(share.shape[1])
        step(self.counts[:, width], self._squares[:, width], lengths, gradient[lengths], self.rate)

    def small(self) -> Arrays:
        """What places count, copied."""
        return {"places": self.counts.copy(), "place_squares": self._squares.copy()}

    def restore(self, arrays: Arrays) -> None:
        """Take over what `small` gave."""
        self.counts = arrays["places"].astype(np.float32)
        self._squares = arrays["place_squares"].astype(np.float32)
