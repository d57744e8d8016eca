"""What `operators.kernels.training.scaling` computes, with whole arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROUNDING = 1e-12


@dataclass
class Scaler:
    """Mean and sums of squares of columns."""

    mean: Floats
    squares: Floats
    weight: float = 0.0

    def learn(self, rows: Floats, half_life: float = 0.0) -> None:
        """Merge rows, oldest first."""
        weights = np.ones(len(rows))
        if half_life:
            weights = np.exp2(-np.arange(len(rows))[::-1] / half_life)
            decay = 0.5 ** (len(rows) / half_life)
            self.weight *= decay
            self.squares *= decay
        added = float(weights.sum())
        centred = rows - rows[0]
        mean = weights @ centred / added
        centred -= mean
        total = self.weight + added
        shift = rows[0] + mean - self.mean
        self.mean += shift * (added / total)
        self.squares += np.einsum("n,nf,nf->f", weights, centred, centred)
        self.squares += shift * shift * (self.weight * added / total)
        self.weight = total

    @property
    def std(self) -> Floats:
        """The deviation of each column, 0 for a constant one."""
        std: Floats = np.sqrt(self.squares / max(self.weight, 1.0))
        std[std <= ROUNDING * np.abs(self.mean)] = 0.0
        return std

    @property
    def inverse_std(self) -> Floats:
        """1 over the deviation, 0 for a constant column."""
        std = self.std
        return np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)

    def scores(self, points: Floats, score_max: float) -> Floats:
        """Standard scores, clipped."""
        return np.clip((points - self.mean) * self.inverse_std, -score_max, score_max)
