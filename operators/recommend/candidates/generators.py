"""Collects candidates from every learner; rerankers come last and get what the others generated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.candidates.learner_lists import LearnerLists
from operators.tables.scored_lists import exclude
from state.interactions import ScoredLists, empty_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.events.processing_errors import ProcessingErrors
    from operators.recommend.candidates.base import CandidateLearner
    from operators.recommend.fork_join import ForkJoin
    from state.interactions import ListRequests

WIDE_FACTOR = 2
"""Co-visitation generates so many times as many candidates for the rerankers: .001 to .002 more hits on
`yoochoose1_64` and `yoochoose_week` than with as many as the others."""


class CandidateGenerators:
    """Lists of at most `pool` candidates of each learner, in the order of the learners.

    With `allow_repeats` they may hold items of the session. `oversampled` is the learner that generates
    more candidates for the rerankers.
    """

    def __init__(
        self,
        learners: Sequence[CandidateLearner],
        oversampled: CandidateLearner,
        errors: ProcessingErrors,
        pool: int,
        allow_repeats: bool,
        fork_join: ForkJoin,
    ) -> None:
        self._learners = tuple(learners)
        self._errors = errors
        self._oversampled = oversampled
        self.pool = pool
        self.allow_repeats = allow_repeats
        self._fork_join = fork_join

    def candidate_lists(self, requests: ListRequests) -> LearnerLists:
        """The candidates of each learner, as the configuration allows them."""

        def of_part(part: slice) -> LearnerLists:
            some = requests.subset(part)
            lists = self.generate(some, self.pool)
            if not self.allow_repeats:
                lists = [exclude(one, some.context) for one in lists]
            return LearnerLists.stack(lists)

        return LearnerLists.join(self._fork_join.map(of_part, len(requests)))

    def generate(self, requests: ListRequests, k: int) -> list[ScoredLists]:
        """At most k items of each learner, best first; items of the session may be among them."""
        oversampled = {
            learner.name: self._generate_from(learner, requests, self._limit_for(learner, k))
            for learner in self._learners
            if not learner.is_reranker
        }
        reranker_requests = replace(
            requests, candidates=np.concatenate([of.item for of in oversampled.values()], axis=1)
        )
        lists = {
            name: ScoredLists(of.item[:, :k], of.score[:, :k], of.reason_item[:, :k])
            for name, of in oversampled.items()
        }
        return [
            self._generate_from(one, reranker_requests, k) if one.is_reranker else lists[one.name]
            for one in self._learners
        ]

    def _generate_from(
        self, learner: CandidateLearner, requests: ListRequests, k: int
    ) -> ScoredLists:
        """The candidates of a learner; none if it raises, so that the others go on."""
        empty = empty_lists(len(requests), k)
        name = f"{learner.name}.candidates"
        return self._errors.call_or_default(name, empty, learner.candidates, requests, k)

    def _limit_for(self, learner: CandidateLearner, k: int) -> int:
        """The number of candidates that the rerankers get from a learner; its own list has k."""
        return WIDE_FACTOR * k if learner is self._oversampled else k
