"""How many clusters a sample has: by silhouette, and by the elbow where silhouettes are nearly equal.

Pure functions of scores, and a patience that a count must outlast before it is accepted. Neither River
nor scikit-learn chooses a count, so there is no oracle; silhouettes are those of `cluster_quality`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.tables.table import TableState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.tables.table import Arrays

SILHOUETTE_GAIN_MIN = 0.02
"""A silhouette is better only if it is better by so much."""

CONFIRMATIONS = 3
"""So many reviews in a row must propose the same count before it is accepted."""


class CountScore(NamedTuple):
    """The score of one number of clusters: silhouette (nan for none), sum of squared distances."""

    k: int
    silhouette: float
    inertia: float


def find_elbow(count_scores: Sequence[CountScore]) -> int:
    """The count after which more clusters reduce the inertia little.

    It is the point farthest below the line from the first score to the last (Satopaa et al. 2011,
    "Finding a kneedle in a haystack"). Scores are sorted by k.

    >>> find_elbow([CountScore(k, 0, left) for k, left in ((2, 100.0), (3, 40.0), (4, 35.0), (5, 30.0))])
    3
    """
    first, last = count_scores[0], count_scores[-1]
    steps = max(last.k - first.k, 1)
    below = [
        first.inertia + (score.k - first.k) / steps * (last.inertia - first.inertia) - score.inertia
        for score in count_scores
    ]
    return count_scores[int(np.argmax(below))].k


def select_count(count_scores: Sequence[CountScore]) -> CountScore:
    """The best silhouette; where several are nearly as good, the count nearest to the elbow."""
    silhouettes = [
        -1.0 if math.isnan(score.silhouette) else score.silhouette for score in count_scores
    ]
    score_min = max(silhouettes) - SILHOUETTE_GAIN_MIN
    elbow = find_elbow(count_scores)
    candidates = [
        score
        for score, silhouette in zip(count_scores, silhouettes, strict=True)
        if silhouette >= score_min
    ]
    return min(candidates, key=lambda score: (abs(score.k - elbow), score.k))


class Patience(TableState):
    """Whether reviews have proposed the same count often enough in a row.

    >>> patience = Patience()
    >>> [patience.confirm(k) for k in (5, 5, None, 5, 5, 5)]
    [False, False, False, False, False, True]
    """

    def __init__(self) -> None:
        self.proposed = 0
        """The count that was proposed last, 0 for none."""
        self._proposed_times = 0

    def confirm(self, k: int | None) -> bool:
        """Note what a review proposed, None for no change. Returns whether to accept it now."""
        self._proposed_times = self._proposed_times + 1 if k == self.proposed else 1
        self.proposed = k or 0
        if k is None or self._proposed_times < CONFIRMATIONS:
            return False
        self.proposed = 0
        return True

    def scalars(self) -> Arrays:
        """The whole state."""
        return {"patience": np.array([self.proposed, self._proposed_times])}

    def restore(self, arrays: Arrays) -> None:
        """Restore what `scalars` gave; earlier releases stored nothing."""
        if "patience" in arrays:
            self.proposed, self._proposed_times = arrays["patience"].tolist()
