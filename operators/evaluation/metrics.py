"""Metrics of lists for cases with one true item, added up case by case.

With one true item a case: HR@k is the share of cases that hit (other texts: Recall@k, P@k of the
graph-network papers); MRR@k is the mean of 1/rank, 0 beyond k; NDCG@k the mean of 1/log2(1 + rank);
MAP@k equals MRR@k and is reported under both names because both are asked for.

Beyond accuracy, of the listed items: Coverage@k is the share of the catalogue that was ever listed;
Gini@k how unevenly places in lists went to the items of the catalogue, 0 (each as many) to 1 (one has
all). Novelty@k is the mean self-information -log2 p(item), p an item's share of the clicks learned
when the list was made (Zhou et al. 2010, https://doi.org/10.1073/pnas.1000488107); bias@k by how many
bits the listed items are better known than the ones that were clicked. Diversity@k is the mean share of
pairs in a list that are of different categories (Ziegler et al. 2005,
https://doi.org/10.1145/1060745.1060754), of items whose category is known; fresh@k the share of listed
items that were first clicked less than a day before.
"""

from __future__ import annotations

from collections import Counter
from math import log2
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def rank_of(target: int, listed: Sequence[int]) -> int:
    """The rank of the target in a list, from 1; 0 if it is not there.

    >>> rank_of(7, [9, 7]), rank_of(8, [9, 7])
    (2, 0)
    """
    try:
        return listed.index(target) + 1
    except ValueError:
        return 0


class CaseNovelty(NamedTuple):
    """Of one case: the self-information (bits) of the list and of the target, and its fresh items."""

    bits: float
    target_bits: float = 0.0
    fresh: int = 0


class MetricAccumulator:
    """One learner's metrics at k so far. `category_of` items as far as it is known.

    Two cases: the target second of a list of two, then missing from a list of one.

    >>> tally = MetricAccumulator(k=20, category_of={5: 1, 6: 2})
    >>> tally.add(rank=2, listed=[5, 6], novelty=CaseNovelty(bits=3.0, target_bits=2.0, fresh=1))
    >>> tally.add(rank=0, listed=[5], novelty=CaseNovelty(bits=0.0))
    >>> tally.report(catalogue=4)  # doctest: +NORMALIZE_WHITESPACE
    {'hr@20': 0.5, 'mrr@20': 0.25, 'ndcg@20': 0.315465, 'map@20': 0.25, 'coverage@20': 0.5,
     'gini@20': 0.583333, 'novelty@20': 1.0, 'bias@20': 0.0, 'fresh@20': 0.333333,
     'diversity@20': 1.0}
    """

    __slots__ = (
        "_bits",
        "_cases",
        "_category_of",
        "_different",
        "_fresh",
        "_gain",
        "_hits",
        "_k",
        "_listed",
        "_lists_with_pairs",
        "_places",
        "_reciprocal",
        "_target_bits",
    )

    def __init__(self, k: int, category_of: Mapping[int, int] | None = None) -> None:
        self._k = k
        self._category_of = category_of or {}
        self._cases = self._hits = self._listed = self._fresh = self._lists_with_pairs = 0
        self._reciprocal = self._gain = self._bits = self._target_bits = self._different = 0.0
        self._places: Counter[int] = Counter()

    def add(self, rank: int, listed: Sequence[int], novelty: CaseNovelty) -> None:
        """Count a case: the target's rank in the list (0: missing), the list, and its novelty."""
        self._cases += 1
        if rank:
            self._hits += 1
            self._reciprocal += 1 / rank
            self._gain += 1 / log2(1 + rank)
        self._listed += len(listed)
        self._bits += novelty.bits
        self._target_bits += novelty.target_bits
        self._fresh += novelty.fresh
        self._places.update(listed)
        if self._category_of:
            self._count_different_pairs(listed)

    def _count_different_pairs(self, listed: Sequence[int]) -> None:
        category_of = self._category_of
        categories = [category_of[item] for item in listed if item in category_of]
        n = len(categories)
        if n > 1:
            same = sum(c * (c - 1) for c in Counter(categories).values())
            self._different += 1 - same / (n * (n - 1))
            self._lists_with_pairs += 1

    def report(self, catalogue: int) -> dict[str, float]:
        """The metrics by name; `catalogue` is the number of items of the shop."""
        cases, listed = max(self._cases, 1), max(self._listed, 1)
        novelty = self._bits / listed
        metrics = {
            "hr": self._hits / cases,
            "mrr": self._reciprocal / cases,
            "ndcg": self._gain / cases,
            "map": self._reciprocal / cases,
            "coverage": len(self._places) / max(catalogue, 1),
            "gini": _gini(list(self._places.values()), catalogue),
            "novelty": novelty,
            "bias": self._target_bits / cases - novelty if self._listed else 0.0,
            "fresh": self._fresh / listed,
        }
        if self._lists_with_pairs:
            metrics["diversity"] = self._different / self._lists_with_pairs
        return {f"{name}@{self._k}": round(value, 6) for name, value in metrics.items()}


def _gini(counts: Sequence[int], catalogue: int) -> float:
    """The Gini coefficient of counts over a catalogue, whose other items count 0."""
    total, n = sum(counts), max(catalogue, len(counts))
    if not total:
        return 0.0
    ordered = np.sort(np.asarray(counts, np.float64))
    rank = np.arange(n - len(ordered) + 1, n + 1)
    return float((2 * rank - n - 1) @ ordered / (n * total))
