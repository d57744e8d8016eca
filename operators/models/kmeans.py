"""Batch k-means on a sample that fits in memory: the pieces the streaming learner is built from.

Pure functions of arrays; randomness comes in as a generator. Change freely: only their results
are stored, never anything of theirs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from state.arrays import NO_ROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Labels = NDArray[np.intp]


def nearest(points: Points, centres: Points) -> Labels:
    """The nearest centre of each point: points [n, F], centres [k, F] -> intp[n], first on ties.

    >>> nearest(np.array([[1.0], [9.0]]), np.array([[0.0], [10.0]])).tolist()
    [0, 1]
    """
    # |x - c|^2 without |x|^2, which is the same for all centres of a point.
    scores = points @ (-2.0 * centres.T)
    scores += np.einsum("kf,kf->k", centres, centres)
    labels: Labels = scores.argmin(axis=1)
    return labels


def squared_distances(points: Points, targets: Points) -> NDArray[np.float64]:
    """From each point to its own target, both [n, F] (or one target [F]) -> float64[n]."""
    gaps = points - targets
    squares: NDArray[np.float64] = np.einsum("nf,nf->n", gaps, gaps)
    return squares


def sums_by_label(points: Points, labels: Labels, k: int) -> tuple[Points, NDArray[np.float64]]:
    """The sum [k, F] and the number [k] of the points under each label."""
    members = (labels == np.arange(k)[:, None]).astype(np.float64)
    return members @ points, members.sum(axis=1)


def inertia(points: Points, centres: Points) -> float:
    """Sum of squared distances to the nearest centre."""
    return float(squared_distances(points, centres[nearest(points, centres)]).sum())


def kmeans_plus_plus(points: Points, k: int, rng: np.random.Generator) -> Points:
    """k centres [k, F] by greedy k-means++ (Arthur and Vassilvitskii 2007, section 3 and its greedy
    variant in their conclusion): each next one drawn by squared distance, best of a few draws.

    With fewer distinct points than k the last ones repeat a point.
    """
    draws = 2 + int(np.log(k))
    chosen = [int(rng.integers(len(points)))]
    nearest_gaps = squared_distances(points, points[chosen[0]])
    for _ in range(1, k):
        edges = np.cumsum(nearest_gaps)
        draws_at = np.searchsorted(edges, rng.random(draws) * edges[-1], side="right")
        candidates = np.minimum(draws_at, len(points) - 1)
        gaps = [np.minimum(nearest_gaps, squared_distances(points, points[c])) for c in candidates]
        best = int(np.argmin([gap.sum() for gap in gaps]))
        chosen.append(int(candidates[best]))
        nearest_gaps = gaps[best]
    return points[chosen]


def lloyd(points: Points, centres: Points, rounds_max: int) -> Points:
    """Move centres to the means of their points until no label changes (Lloyd 1982).

    A centre without points stays where it is.
    """
    labels = nearest(points, centres)
    for _ in range(rounds_max):
        sums, sizes = sums_by_label(points, labels, len(centres))
        has_points = sizes > 0
        centres = centres.copy()
        centres[has_points] = sums[has_points] / sizes[has_points, None]
        moved = nearest(points, centres)
        if np.array_equal(moved, labels):
            break
        labels = moved
    return centres


def match_labels(
    old: Labels,
    new: Labels,
    k_old: int,
    k_new: int,
    weights: NDArray[np.float64] | None = None,
) -> Labels:
    """Which old label each new one continues, NO_ROW where it is a new group -> intp[k_new].

    old, new: labels of the same points, numbered below k_old and k_new; weights: how much each point
    counts. Old and new are paired so that most points keep theirs (Hungarian method); a pair that shares
    no more than half of its points (Dice 1945, twice the shared over the sum of both) is none. So of a
    group that falls in two the larger part goes on, and of two that become one the larger.

    >>> match_labels(np.array([0, 0, 0, 1, 1]), np.array([1, 1, 2, 0, 0]), 2, 3).tolist()
    [1, 0, -1]
    """
    pairs = np.bincount(old * k_new + new, weights, minlength=k_old * k_new)
    shared = pairs.reshape(k_old, k_new)
    old_label, new_label = linear_sum_assignment(shared, maximize=True)
    sizes = shared.sum(axis=1)[old_label] + shared.sum(axis=0)[new_label]
    continues = 4 * shared[old_label, new_label] > sizes
    order = np.full(k_new, NO_ROW, np.intp)
    order[new_label[continues]] = old_label[continues]
    return order
