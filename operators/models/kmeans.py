"""Batch k-means on a sample that fits in memory: the building blocks of the streaming model.

Pure functions of arrays; randomness comes in as a generator. Change freely: nothing here is stored,
only its results are. Oracle: scikit-learn's `KMeans`; a test holds `lloyd` and `inertia` to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
    """The sum [k, F] and the number [k] of the points of each label."""
    members = (labels == np.arange(k)[:, None]).astype(np.float64)
    return members @ points, members.sum(axis=1)


def inertia(points: Points, centres: Points) -> float:
    """Sum of squared distances to the nearest centre."""
    return float(squared_distances(points, centres[nearest(points, centres)]).sum())


def kmeans_plus_plus(points: Points, k: int, rng: np.random.Generator) -> Points:
    """k centres [k, F] by greedy k-means++ (Arthur and Vassilvitskii 2007, section 3, and the greedy
    variant in their conclusion): each next centre is the best of a few draws by squared distance.

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


def draw_far_point(
    points: Points, targets: Points, rng: np.random.Generator, rounding: float
) -> Points | None:
    """A point [F], drawn by its squared distance to its target, both [n, F].

    A squared distance below the share `rounding` of a point's own square counts 0. None where all
    distances are 0.
    """
    gaps = squared_distances(points, targets)
    gaps[gaps <= rounding * np.einsum("nf,nf->n", points, points)] = 0.0
    edges = np.cumsum(gaps)
    if edges[-1] == 0.0:
        return None
    index = np.searchsorted(edges, rng.random() * edges[-1], side="right")
    far: Points = points[min(int(index), len(points) - 1)]
    return far


def lloyd(points: Points, centres: Points, rounds_max: int) -> Points:
    """Move centres to the means of their points until no label changes (Lloyd 1982).

    A centre without points does not move.
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
