"""The results of an evaluation: each learner's metrics, and the traits and ranks of each case."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.evaluation.metrics import CaseNovelty, MetricAccumulator, rank_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.evaluation.click_history import ItemClickHistory

    Lists = Mapping[str, Sequence[int]]

NEVER = -1


class Case(NamedTuple):
    """A scored click: item, time, shopper, and the number of items in the session before it.

    `owner` is the same for cases that are not independent: those of a shopper, or of a session whose
    shopper is unknown. `is_known`: the shopper had clicked something before.
    """

    target: int
    at_ms: int
    owner: int
    depth: int
    is_known: bool


@dataclass
class EvaluationResult:
    """The metrics by learner, and of each case its rank by learner (0: missed) and its traits.

    `age_ms` is the time since the first click of the target, `NEVER` without one.
    """

    k: int
    category_of: Mapping[int, int] = field(default_factory=dict)
    accumulators: dict[str, MetricAccumulator] = field(default_factory=dict)
    ranks: dict[str, bytearray] = field(default_factory=dict)
    at_ms: array[int] = field(default_factory=lambda: array("q"))
    owner: array[int] = field(default_factory=lambda: array("i"))
    depth: array[int] = field(default_factory=lambda: array("i"))
    is_known: bytearray = field(default_factory=bytearray)
    age_ms: array[int] = field(default_factory=lambda: array("q"))

    def __len__(self) -> int:
        return len(self.at_ms)

    def scores(self, catalogue: int) -> dict[str, dict[str, float]]:
        """The metrics of each learner; `catalogue` is the number of items of the shop."""
        return {name: tally.report(catalogue) for name, tally in self.accumulators.items()}

    def add(self, case: Case, lists: Lists, history: ItemClickHistory) -> None:
        """Score a case. Every case has lists of the same learners."""
        self.at_ms.append(case.at_ms)
        self.owner.append(case.owner)
        self.depth.append(case.depth)
        self.is_known.append(case.is_known)
        age_ms = history.age_ms(case.target, case.at_ms)
        self.age_ms.append(NEVER if age_ms is None else age_ms)
        target_bits = history.bits([case.target])
        for name, listed in lists.items():
            if name not in self.accumulators:
                self.accumulators[name] = MetricAccumulator(self.k, self.category_of)
                self.ranks[name] = bytearray()
            rank = rank_of(case.target, listed)
            novelty = CaseNovelty(
                history.bits(listed), target_bits, history.count_fresh(listed, case.at_ms)
            )
            self.accumulators[name].add(rank, listed, novelty)
            self.ranks[name].append(rank)

    def hits(self, name: str) -> NDArray[np.float64]:
        """1 for each case that a learner hit, else 0: its mean is HR@k."""
        return (np.frombuffer(self.ranks[name], np.uint8) > 0).astype(np.float64)

    def reciprocal(self, name: str) -> NDArray[np.float64]:
        """1/rank of each case, 0 for a miss: its mean is MRR@k."""
        rank = np.frombuffer(self.ranks[name], np.uint8)
        return np.where(rank > 0, 1 / np.maximum(rank, 1), 0.0)
