"""Thompson sampling without chance: exact probabilities, and draws that a replay repeats."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.interactions import ListRequests

    Probabilities = NDArray[np.float64]

GRID_POINTS = 1024


def probability_of_best(clicks: Probabilities, views: Probabilities) -> Probabilities:
    """The probability of each rate to be the highest, given its clicks and views; 1 in all.

    The posteriors are Beta(1 + clicks, 1 + views - clicks), integrated over a grid.

    >>> probability_of_best(np.array([5.0, 5.0]), np.array([50.0, 50.0])).round(3).tolist()
    [0.5, 0.5]
    """
    a, b = 1 + clicks, 1 + np.maximum(views - clicks, 0)
    mean = a / (a + b)
    spread = 6 * np.sqrt(mean * (1 - mean) / (a + b + 1))
    low, high = max(0.0, float((mean - spread).min())), min(1.0, float((mean + spread).max()))
    rate = low + (high - low) * (np.arange(GRID_POINTS) + 0.5) / GRID_POINTS
    log = (a - 1)[:, None] * np.log(rate) + (b - 1)[:, None] * np.log1p(-rate)
    density = np.exp(log - log.max(axis=1, keepdims=True))
    density /= density.sum(axis=1, keepdims=True)
    below = density.cumsum(axis=1) - density / 2
    best = np.array(
        [(one * np.delete(below, n, axis=0).prod(axis=0)).sum() for n, one in enumerate(density)]
    )
    return np.asarray(best / best.sum())


def uniform(seed: int, requests: ListRequests) -> Probabilities:
    """A number from 0 to below 1 for each request, always the same.

    The last steps are those of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).
    """
    mixed = np.full(len(requests), seed, np.uint64)
    for column in (requests.shopper, requests.now_ms, requests.context[:, 0]):
        mixed = (mixed ^ column.astype(np.int64).view(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
    return np.asarray((mixed >> np.uint64(11)) / np.float64(1 << 53))
