"""How good a clustering of a sample is. Pure functions of arrays.

Oracle: scikit-learn's `silhouette_score` and `davies_bouldin_score`; a test compares them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray


def silhouette(points: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    """Mean silhouette (Rousseeuw 1987) of points [n, F] with labels [n]; nan below two clusters.

    1 is best. A point alone in its cluster counts 0. Computes n * n distances: give it a sample.
    """
    return silhouettes(points, [labels])[0]


def silhouettes(
    points: NDArray[np.float64], clusterings: Iterable[NDArray[np.integer]]
) -> list[float]:
    """The mean silhouette of each of several clusterings of the same points."""
    squares = np.einsum("nf,nf->n", points, points)
    distances = squares[:, None] + squares - 2.0 * (points @ points.T)
    np.fill_diagonal(distances, 0.0)
    np.sqrt(np.maximum(distances, 0.0, out=distances), out=distances)
    return [_silhouette(distances, labels) for labels in clusterings]


def _silhouette(distances: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    cluster, sizes, k = _renumber(labels)
    if k < 2:
        return math.nan
    members = (cluster == np.arange(k)[:, None]).astype(np.float64)
    to_cluster = distances @ members.T
    rows = np.arange(len(distances))
    inside = to_cluster[rows, cluster] / np.maximum(sizes[cluster] - 1, 1)
    to_cluster /= sizes
    to_cluster[rows, cluster] = np.inf
    outside = to_cluster.min(axis=1)
    larger = np.maximum(inside, outside)
    scores = np.divide(outside - inside, larger, out=np.zeros_like(larger), where=larger > 0)
    return float(np.where(sizes[cluster] > 1, scores, 0.0).mean())


def davies_bouldin(points: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    """Davies-Bouldin index (1979) of points [n, F] with labels [n]; nan below two clusters.

    0 is best: the spread of a cluster and of its worst neighbour, over the distance between them.
    """
    cluster, sizes, k = _renumber(labels)
    if k < 2:
        return math.nan
    members = (cluster == np.arange(k)[:, None]).astype(np.float64)
    centres = members @ points / sizes[:, None]
    spread = members @ np.linalg.norm(points - centres[cluster], axis=1) / sizes
    separation = np.linalg.norm(centres[:, None] - centres, axis=2)
    spread_sums = spread[:, None] + spread
    ratio = np.divide(spread_sums, separation, out=np.zeros_like(spread_sums), where=separation > 0)
    return float(ratio.max(axis=1).mean())


def _renumber(labels: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Labels as 0..k-1 without gaps, the size of each, and k."""
    _, cluster, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return cluster, sizes, len(sizes)
