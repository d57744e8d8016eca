"""How many clusters a sample has: by silhouette, and by the elbow where silhouettes are as good.

Pure functions of figures, and a patience that a number must outlast before it is changed.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.tables.table import Kept

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

CLEARLY_BETTER = 0.02
"""A silhouette must be better by so much; what differs by less is as good."""

CHECKS = 3
"""So many checks in a row must name the same number before it is taken."""


class Tried(NamedTuple):
    """A number of clusters that was tried: silhouette (nan for none), sum of squared distances."""

    k: int
    silhouette: float
    inertia: float


def elbow(tried: Sequence[Tried]) -> int:
    """The number after which more clusters leave little less: the point farthest below the line from the
    first to the last (Satopaa et al. 2011, "Finding a kneedle in a haystack"). By rising k.

    >>> elbow([Tried(2, 0, 100.0), Tried(3, 0, 40.0), Tried(4, 0, 35.0), Tried(5, 0, 30.0)])
    3
    """
    first, last = tried[0], tried[-1]
    steps = max(last.k - first.k, 1)
    below = [
        first.inertia + (one.k - first.k) / steps * (last.inertia - first.inertia) - one.inertia
        for one in tried
    ]
    return tried[int(np.argmax(below))].k


def best(tried: Sequence[Tried]) -> Tried:
    """The number to take: the best silhouette, or of those as good the one nearest to the elbow."""
    scores = [-1.0 if math.isnan(one.silhouette) else one.silhouette for one in tried]
    as_good = max(scores) - CLEARLY_BETTER
    knee = elbow(tried)
    among = [one for one, score in zip(tried, scores, strict=True) if score >= as_good]
    return min(among, key=lambda one: (abs(one.k - knee), one.k))


class Patience(Kept):
    """Whether checks have named the same number often enough in a row.

    >>> patience = Patience()
    >>> [patience.is_out(k) for k in (5, 5, None, 5, 5, 5)]
    [False, False, False, False, False, True]
    """

    def __init__(self) -> None:
        self.asked = 0
        """The number that was named last, 0 for none."""
        self._times = 0

    def is_out(self, k: int | None) -> bool:
        """Hear what a check named, None where all is well; whether to take it now."""
        self._times = self._times + 1 if k == self.asked else 1
        self.asked = k or 0
        if k is None or self._times < CHECKS:
            return False
        self.asked = 0
        return True

    def small(self) -> Arrays:
        """The whole state."""
        return {"patience": np.array([self.asked, self._times])}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `small` gave, or nothing from an older release."""
        if "patience" in arrays:
            self.asked, self._times = arrays["patience"].tolist()
