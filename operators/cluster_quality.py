"""How good a clustering of a sample is, and what to call its clusters. Pure functions of arrays."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_UNITS = ("_days", "_ms", "_s", "_min")


def silhouette(points: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    """Mean silhouette (Rousseeuw 1987) of points [n, F] with labels [n]; nan below two clusters.

    1 is best. A point alone in its cluster counts 0. Takes n * n distances: give it a sample.
    """
    own, sizes, k = _compact(labels)
    if k < 2:
        return math.nan
    squares = np.einsum("nf,nf->n", points, points)
    gaps = squares[:, None] + squares - 2.0 * (points @ points.T)
    np.fill_diagonal(gaps, 0.0)
    members = (own == np.arange(k)[:, None]).astype(np.float64)
    to_cluster = np.sqrt(np.maximum(gaps, 0.0)) @ members.T
    rows = np.arange(len(points))
    inside = to_cluster[rows, own] / np.maximum(sizes[own] - 1, 1)
    to_cluster /= sizes
    to_cluster[rows, own] = np.inf
    outside = to_cluster.min(axis=1)
    larger = np.maximum(inside, outside)
    scores = np.divide(outside - inside, larger, out=np.zeros_like(larger), where=larger > 0)
    return float(np.where(sizes[own] > 1, scores, 0.0).mean())


def davies_bouldin(points: NDArray[np.float64], labels: NDArray[np.integer]) -> float:
    """Davies-Bouldin index (1979) of points [n, F] with labels [n]; nan below two clusters.

    0 is best: the spread of a cluster and its worst neighbour, over the distance between them.
    """
    own, sizes, k = _compact(labels)
    if k < 2:
        return math.nan
    members = (own == np.arange(k)[:, None]).astype(np.float64)
    centres = members @ points / sizes[:, None]
    spread = members @ np.linalg.norm(points - centres[own], axis=1) / sizes
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)
    both = spread[:, None] + spread
    ratio = np.divide(both, apart, out=np.zeros_like(both), where=apart > 0)
    return float(ratio.max(axis=1).mean())


def names(
    deviations: dict[int, NDArray[np.float64]], feature_names: Sequence[str]
) -> dict[int, str]:
    """A short name for each cluster from its centre in standard scores float64[F].

    The two features that stand out most, further ones where two clusters would share a name, the
    cluster's number where all are used up. A plural is counted (many, few), the rest is measured.

    >>> names({0: np.array([2.0, 0.4]), 1: np.array([-0.1, -0.2])}, ["revenue", "sessions"])
    {0: 'very high revenue, many sessions', 1: 'average'}
    """
    found: dict[int, str] = {}
    for cluster, scores in sorted(deviations.items()):
        order = np.argsort(-np.abs(scores), kind="stable")
        phrases = [_phrase(feature_names[f], float(scores[f])) for f in order]
        striking = [
            phrase for phrase, f in zip(phrases, order, strict=True) if _stands_out(scores[f])
        ]
        lengths = range(min(2, len(striking)), len(phrases) + 1)
        options = [", ".join(phrases[:length]) or "average" for length in lengths]
        options.append(f"{options[0]} ({cluster})")
        found[cluster] = next(name for name in options if name not in found.values())
    return found


def _stands_out(score: float) -> bool:
    return abs(score) >= 0.3


def _phrase(feature: str, score: float) -> str:
    plural = feature.endswith("s") and not feature.endswith(_UNITS)
    word = ("many" if score > 0 else "few") if plural else ("high" if score > 0 else "low")
    for unit in _UNITS:
        feature = feature.removesuffix(unit)
    return f"{'very ' * (abs(score) >= 1.5)}{word} {feature.replace('_', ' ')}"


def _compact(labels: NDArray[np.integer]) -> tuple[NDArray[np.intp], NDArray[np.intp], int]:
    """Labels as 0..k-1 without gaps, the size of each, and k."""
    _, own, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    return own, sizes, len(sizes)
