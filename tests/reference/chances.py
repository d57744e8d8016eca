"""What `operators.kernels.training.chances` computes, block by block with whole arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from tests.reference.scaling import Scaler

    Floats = NDArray[np.float64]

BLOCK, SCORE_MAX, RAW_MAX, RATE = 16, 3.0, 30.0, 0.05


@dataclass
class Chances:
    """A scaler, a logistic regression by AdaGrad, and sums for recalibration."""

    scaler: Scaler
    weights: Floats
    squares: Floats
    labels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(2, np.int64))
    recent: Floats = field(default_factory=lambda: np.zeros(3))

    def estimate(self, points: Floats, odds_ratio: float = 1.0) -> Floats:
        """The chance of each point, its odds multiplied."""
        odds = self._chances(self.scaler.scores(points, SCORE_MAX))
        chances = odds.copy()
        odds *= odds_ratio
        return odds / (1.0 - chances + odds)

    def learn(self, points: Floats, outcomes: Floats, half_life: float, *, is_young: bool) -> None:
        """Learn outcomes, oldest first."""
        for start in range(0, len(points), BLOCK):
            block, truth = points[start : start + BLOCK], outcomes[start : start + BLOCK]
            self.scaler.learn(block)
            if is_young:
                no, yes = self.labels.tolist()
                self.weights[0] = np.log((yes + 0.5) / (no + 0.5))
            scores = self.scaler.scores(block, SCORE_MAX)
            chances = self._chances(scores)
            slope = _design(scores).T @ (chances - truth) / BLOCK
            self.squares += slope * slope
            self.weights -= RATE * slope / np.sqrt(self.squares + 1e-8)
            positives = int(truth.sum())
            self.labels += (len(truth) - positives, positives)
            if not is_young:
                self.recent *= 0.5 ** (len(block) / half_life)
                self.recent += (positives, chances.sum(), len(block))

    def _chances(self, scores: Floats) -> Floats:
        raw = np.clip(_design(scores) @ self.weights, -RAW_MAX, RAW_MAX)
        chances: Floats = 1.0 / (1.0 + np.exp(-raw))
        return chances


def _design(scores: Floats) -> Floats:
    return np.column_stack([np.ones(len(scores)), scores])


def evaluate(
    chances: Floats, outcomes: Floats, half_life: float, logit_max: float, sums: Floats, loss: float
) -> float:
    """Add to sums [3, bins] of negative outcomes, positive ones and chances; the new sum of losses."""
    bins = sums.shape[1]
    chances = np.clip(np.nan_to_num(chances), 1e-7, 1.0 - 1e-7)
    logits = np.log(chances) - np.log1p(-chances)
    scaled = (logits + logit_max) * (bins / (2.0 * logit_max))
    places = np.clip(scaled, 0, bins - 1).astype(np.intp)
    decay = 0.5 ** (len(chances) / half_life)
    sums *= decay
    for row, by in enumerate((1.0 - outcomes, outcomes, chances)):
        sums[row] += np.bincount(places, by, bins)
    losses = outcomes * np.log(chances) + (1.0 - outcomes) * np.log1p(-chances)
    total: float = loss * decay - float(losses.sum())
    return total
