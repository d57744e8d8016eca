"""Session factors as a reranker: `SessionFactors` rank the candidates of the other learners.

Alone it would have to score every item of the shop for each request. The candidates of the others hold
nearly all that it would find, and cost the same in a shop of any size. `score` scores any item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking.factors import rerank
from operators.models.session_factors import SessionFactors, SessionFactorsConfig
from operators.tables.table import Table, TableState
from state.interactions import empty_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.tables.replication import Replicated
    from operators.tables.table import Arrays
    from state.arrays import Rows, Weights
    from state.interactions import Interactions, ListRequests, ScoredLists


class SessionFactorsReranker(TableState):
    """A `CandidateLearner` over factors of sessions and items.

    A request without a known item in its session, or without candidates, gets an empty list. A score is
    the probability among the candidates, divided by that of the first.
    """

    is_reranker = True

    def __init__(
        self, settings: SessionFactorsConfig | None = None, *, seed: int = 7, name: str = "factors"
    ) -> None:
        self.name = name
        self.model = SessionFactors(settings or SessionFactorsConfig(), seed)

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in order of arrival."""
        self.model.learn(batch.item, batch.weight, batch.at_ms, batch.context)

    def candidates(self, requests: ListRequests, k: int) -> ScoredLists:
        """At most k of the other learners' candidates for each request, best first."""
        lists = empty_lists(len(requests), k)
        model = self.model
        rerank(
            requests.candidates,
            requests.context,
            *model.replicated_columns(),
            model.negative_sampler.popularity[: len(model.vectors)],
            model.position_weights.relative_weights(),
            np.float32(model.settings.inverse_temperature),
            lists.item,
            lists.score,
            lists.reason_item,
        )
        return lists

    def score(self, requests: ListRequests, items: Rows) -> Weights:
        """The likelihood of items int32[n, c], float32[n, c], on a scale of its own for each request; 0
        for an unknown item."""
        sessions, _, _ = self.model.sessions(requests.context)
        known = self.model.is_known(items)
        if not known.any():
            return np.zeros(items.shape, np.float32)
        scores = self.model.scores(sessions, np.where(known, items, 0))
        return np.where(known, np.exp(scores), np.float32(0))

    def remove_shoppers(self, rows: Rows) -> None:
        """Nothing is stored of single shoppers."""

    def remove_items(self, rows: Rows) -> None:
        """Remove what was learned of these items."""
        self.model.remove_items(rows)

    def replicated_tables(self) -> Sequence[Replicated]:
        """What ranking reads of the model."""
        return self.model.replicated_tables()

    def tables(self) -> Sequence[Table]:
        """What is learned of items, and which items exist."""
        return self.model.tables()

    def scalars(self) -> Arrays:
        """The random generator, the clock and the weights of positions."""
        return self.model.scalars()

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a learner with the same settings."""
        self.model.restore(arrays)
