"""List metrics for cases with one true item, added up case by case.

With one true item a case: HR@k is the share of cases that hit (other texts: Recall@k, P@k of the
graph-network papers); MRR@k is the mean of 1/rank, 0 beyond k; NDCG@k the mean of 1/log2(1 + rank);
MAP@k equals MRR@k and is reported under both names because both are asked for.
Coverage@k is the share of the catalogue that was ever listed. Novelty@k is the mean self-information
-log2 p(item) of the listed items, p their share of the clicks learned when the list was made
(Zhou et al. 2010, https://doi.org/10.1073/pnas.1000488107).
"""

from __future__ import annotations

from math import log2
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def rank_of(target: int, listed: Sequence[int]) -> int:
    """Where the target stands in a list, counted from 1; 0 if it is not there.

    >>> rank_of(7, [9, 7]), rank_of(8, [9, 7])
    (2, 0)
    """
    try:
        return listed.index(target) + 1
    except ValueError:
        return 0


class SelfInformation:
    """How surprising items are, in bits, given the clicks counted so far.

    >>> clicks = SelfInformation()
    >>> for item in [0, 0, 0, 1]:
    ...     clicks.count(item)
    >>> clicks.bits([1]), round(clicks.bits([0, 1]), 3)
    (2.0, 2.415)
    """

    __slots__ = ("_counts", "_log2_counts", "_total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self._log2_counts: dict[int, float] = {}
        self._total = 0

    def count(self, item: int) -> None:
        """Count one click of an item."""
        self._total += 1
        self._counts[item] = clicks = self._counts.get(item, 0) + 1
        self._log2_counts[item] = log2(clicks)

    def bits(self, listed: Sequence[int]) -> float:
        """The self-information of a list's items, summed. An item never clicked counts as one click."""
        if not listed:
            return 0.0
        known = self._log2_counts
        return len(listed) * log2(self._total) - sum(known.get(item, 0.0) for item in listed)


class Tally:
    """One learner's metrics at k so far.

    Two cases: the target second of a list of two, then missing from a list of one.

    >>> tally = Tally(k=20)
    >>> tally.add(rank=2, listed=[5, 6], bits=3.0)
    >>> tally.add(rank=0, listed=[5], bits=0.0)
    >>> tally.report(catalogue=4)  # doctest: +NORMALIZE_WHITESPACE
    {'hr@20': 0.5, 'mrr@20': 0.25, 'ndcg@20': 0.315465, 'map@20': 0.25,
     'coverage@20': 0.5, 'novelty@20': 1.0}
    """

    __slots__ = (
        "_bits",
        "_cases",
        "_ever_listed",
        "_gain",
        "_hits",
        "_k",
        "_listed",
        "_reciprocal",
    )

    def __init__(self, k: int) -> None:
        self._k = k
        self._cases = self._hits = self._listed = 0
        self._reciprocal = self._gain = self._bits = 0.0
        self._ever_listed: set[int] = set()

    def add(self, rank: int, listed: Sequence[int], bits: float) -> None:
        """Count a case: the target's rank in the list (0: missing), the list, its summed bits."""
        self._cases += 1
        if rank:
            self._hits += 1
            self._reciprocal += 1 / rank
            self._gain += 1 / log2(1 + rank)
        self._listed += len(listed)
        self._bits += bits
        self._ever_listed.update(listed)

    def report(self, catalogue: int) -> dict[str, float]:
        """The metrics by name; `catalogue` is the number of items there were to list."""
        cases = max(self._cases, 1)
        metrics = {
            "hr": self._hits / cases,
            "mrr": self._reciprocal / cases,
            "ndcg": self._gain / cases,
            "map": self._reciprocal / cases,
            "coverage": len(self._ever_listed) / max(catalogue, 1),
            "novelty": self._bits / max(self._listed, 1),
        }
        return {f"{name}@{self._k}": round(value, 6) for name, value in metrics.items()}
