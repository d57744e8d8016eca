"""What each learner names for whom: the learners of a shop, asked in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import without
from state.interactions import Lists, empty_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.events.processing_errors import Faults
    from operators.recommend.candidates.base import Learner
    from state.interactions import Requests

NAMED_WIDE = 2
"""Co-visitation names so many times as many items as a list holds to be put in order by factors: .001 to
.002 more hits on `yoochoose1_64` and `yoochoose_week` than with as many as the others."""


class Asked:
    """Learners that name at most `pool` items each; their lists come in the order of the learners.

    With `allow_repeats` items of the session may be named. `wide` is the learner of co-visitation.
    """

    def __init__(
        self,
        learners: Sequence[Learner],
        wide: Learner,
        faults: Faults,
        *,
        pool: int,
        allow_repeats: bool,
    ) -> None:
        self._learners = tuple(learners)
        self._faults = faults
        self._wide = wide
        self.pool = pool
        self.allow_repeats = allow_repeats

    def would_show(self, requests: Requests) -> list[Lists]:
        """The list of each learner."""
        lists = self.candidates(requests, self.pool)
        if self.allow_repeats:
            return lists
        return [without(one, requests.context) for one in lists]

    def candidates(self, requests: Requests, k: int) -> list[Lists]:
        """At most k items of each learner, best first, whatever the session held."""
        wide = {
            learner.name: self._ask(learner, requests, self._named_by(learner, k))
            for learner in self._learners
            if not learner.asked_last
        }
        told = replace(requests, named=np.concatenate([of.item for of in wide.values()], axis=1))
        lists = {
            name: Lists(of.item[:, :k], of.score[:, :k], of.because[:, :k])
            for name, of in wide.items()
        }
        return [
            self._ask(one, told, k) if one.asked_last else lists[one.name] for one in self._learners
        ]

    def _ask(self, learner: Learner, requests: Requests, k: int) -> Lists:
        """A learner's lists; of one that raises nothing, the others go on."""
        nothing = empty_lists(len(requests), k)
        name = f"{learner.name}.candidates"
        return self._faults.tried(name, nothing, learner.candidates, requests, k)

    def _named_by(self, learner: Learner, k: int) -> int:
        """How many items it names for those that are asked last; its own list has k."""
        return NAMED_WIDE * k if learner is self._wide else k
