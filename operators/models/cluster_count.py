"""How many clusters a sample has: by silhouette, and by the elbow where silhouettes are as good.

Pure functions of figures, and a patience that a number must outlast before it is changed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.tables.table import TableState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

SILHOUETTE_GAIN_MIN = 0.02
"""A silhouette must be better by so much; what differs by less is as good."""

CONFIRMATIONS = 3
"""So many checks in a row must name the same number before it is taken."""


class CountScore(NamedTuple):
    """A number of clusters that was tried: silhouette (nan for none), sum of squared distances."""

    k: int
    silhouette: float
    inertia: float


def find_elbow(count_scores: Sequence[CountScore]) -> int:
    """The number after which more clusters leave little less: the point farthest below the line from the
    first to the last (Satopaa et al. 2011, "Finding a kneedle in a haystack"). By rising k.

    >>> errors = {2: 100.0, 3: 40.0, 4: 35.0, 5: 30.0}
    >>> find_elbow([CountScore(k, 0, error) for k, error in errors.items()])
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
    """The number to take: the best silhouette, or of those as good the one nearest to the elbow."""
    silhouettes = [
        -1.0 if math.isnan(score.silhouette) else score.silhouette for score in count_scores
    ]
    score_min = max(silhouettes) - SILHOUETTE_GAIN_MIN
    knee = find_elbow(count_scores)
    candidates = [
        one for one, score in zip(count_scores, silhouettes, strict=True) if score >= score_min
    ]
    return min(candidates, key=lambda one: (abs(one.k - knee), one.k))


class Patience(TableState):
    """Whether checks have named the same number often enough in a row.

    >>> patience = Patience()
    >>> [patience.confirm(k) for k in (5, 5, None, 5, 5, 5)]
    [False, False, False, False, False, True]
    """

    def __init__(self) -> None:
        self.proposed = 0
        """The number that was named last, 0 for none."""
        self._proposed_times = 0

    def confirm(self, k: int | None) -> bool:
        """Hear what a check named, None where all is well; whether to take it now."""
        self._proposed_times = self._proposed_times + 1 if k == self.proposed else 1
        self.proposed = k or 0
        if k is None or self._proposed_times < CONFIRMATIONS:
            return False
        self.proposed = 0
        return True

    def scalars(self) -> Arrays:
        """The whole state."""
        return {"patience": np.array([self.proposed, self._proposed_times])}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `scalars` gave, or nothing from an older release."""
        if "patience" in arrays:
            self.proposed, self._proposed_times = arrays["patience"].tolist()
