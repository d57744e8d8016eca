"""The reviews of mini-batch k-means: batch k-means on its sample, to find better centres.

Pure functions of the sample; randomness comes in as a generator. To be changed by measurement only:
`python -m benchmarks.clusters` compares the result with batch k-means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.models import cluster_quality, kmeans
from operators.models.cluster_count import CountScore, select_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Points = NDArray[np.float64]

RESTARTS = 3
ROUNDS_MAX = 20
INERTIA_RATIO_MAX = 0.99
"""Other centres are accepted if their inertia on the sample is less than this share of the present."""
EVALUATED_POINTS = 512
"""Numbers of clusters are compared on so many points of the sample."""


class CountReview(NamedTuple):
    """The score of the present centres, the scores of all allowed counts, and the centres of each."""

    current: CountScore
    count_scores: list[CountScore]
    fits: list[Points]


def choose_start(
    sample: Points, allowed_counts: range, rng: np.random.Generator
) -> tuple[Points, list[CountScore]]:
    """The first centres, and the scores of the counts if there is a choice.

    For each count the best of `RESTARTS` starts is taken, by inertia.
    """
    trials = [
        min(
            fresh_starts(sample, k, RESTARTS, rng),
            key=lambda centres: kmeans.inertia(sample, centres),
        )
        for k in allowed_counts
    ]
    if len(trials) == 1:
        return trials[0], []
    count_scores = _evaluate(_evaluation_sample(sample), trials)
    return trials[select_count(count_scores).k - allowed_counts[0]], count_scores


def review_counts(
    sample: Points, centres: Points, allowed_counts: range, rng: np.random.Generator
) -> CountReview:
    """Try every allowed number of centres once, from a fresh start, on a part of the sample."""
    part = _evaluation_sample(sample)
    fits = [next(fresh_starts(part, k, 1, rng)) for k in allowed_counts]
    current, *count_scores = _evaluate(part, [centres, *fits])
    return CountReview(current, count_scores, fits)


def find_better_centres(
    sample: Points, centres: Points, inertia: float, restarts: int, rng: np.random.Generator
) -> Points | None:
    """Centres that leave clearly less than this inertia on the sample, or None.

    Tried are the present centres after batch k-means, then fresh starts against the best so far.
    """
    better = None
    polished = kmeans.lloyd(sample, centres, ROUNDS_MAX)
    for tried in (polished, *fresh_starts(sample, len(centres), restarts, rng)):
        tried_inertia = kmeans.inertia(sample, tried)
        if tried_inertia < INERTIA_RATIO_MAX * inertia:
            inertia, better = tried_inertia, tried
    return better


def fresh_starts(
    sample: Points, k: int, restarts: int, rng: np.random.Generator
) -> Iterator[Points]:
    """Results of batch k-means from k-means++ starts."""
    for _ in range(restarts):
        yield kmeans.lloyd(sample, kmeans.kmeans_plus_plus(sample, k, rng), ROUNDS_MAX)


def _evaluation_sample(sample: Points) -> Points:
    return sample[:: -(-len(sample) // EVALUATED_POINTS)]


def _evaluate(sample: Points, centre_sets: Sequence[Points]) -> list[CountScore]:
    labels = [kmeans.nearest(sample, centres) for centres in centre_sets]
    silhouettes = cluster_quality.silhouettes(sample, labels)
    return [
        CountScore(len(centres), silhouette, kmeans.inertia(sample, centres))
        for centres, silhouette in zip(centre_sets, silhouettes, strict=True)
    ]
