"""Session factors as a reranker: `SessionFactors` rank the candidates of the other learners.

Alone it would have to score every item of the shop for each request. The candidates of the others hold
nearly all that it would find, and cost the same in a shop of any size. `score` scores any item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.models.session_factors import SessionFactors, SessionFactorsConfig
from operators.tables.array_ops import descending_key
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.interactions import empty_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.replication import Replicated
    from operators.tables.table import Arrays
    from state.arrays import Rows, Weights
    from state.interactions import Interactions, ListRequests, ScoredLists

_LAST = np.iinfo(np.int64).max
REQUESTS_AT_ONCE = 128
"""Requests in one step: the columns in between then stay in the cache."""


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
        for start in range(0, len(requests), REQUESTS_AT_ONCE):
            part = slice(start, start + REQUESTS_AT_ONCE)
            ranked = self._rank(requests.subset(part), k)
            lists.item[part], lists.score[part] = ranked.item, ranked.score
            lists.reason_item[part] = ranked.reason_item
        return lists

    def _rank(self, requests: ListRequests, k: int) -> ScoredLists:
        sessions, share, context = self.model.sessions(requests.context)
        candidates = self._deduplicate(requests.candidates, share.sum(axis=1) > 0)
        n, width = candidates.shape
        lists = empty_lists(n, k)
        if not width:
            return lists
        is_item = candidates >= 0
        items = np.maximum(candidates, 0)
        scores = np.where(is_item, self.model.scores(sessions, items), -np.inf)
        best = np.maximum(scores.max(axis=1, keepdims=True), np.finfo(np.float32).min)
        score = np.exp(scores - best)
        # Items ascend along a row, so that a tie goes to the lower one.
        order = np.where(is_item, descending_key(score) << 32 | np.arange(width), _LAST)
        order.sort(axis=1)
        order = order[:, :k]
        position = (order & 0xFFFFFFFF) + np.arange(0, n * width, width)[:, None]
        position[order == _LAST] = 0
        is_there = order != _LAST
        shown = slice(0, order.shape[1])
        lists.item[:, shown] = np.where(is_there, items.take(position), NO_ROW)
        lists.score[:, shown] = np.where(is_there, score.take(position), 0)
        lists.reason_item[:, shown] = self._reasons(lists.item[:, shown], share, context)
        return lists

    def _deduplicate(self, candidates: Rows, has_context: NDArray[np.bool_]) -> Rows:
        """Each known item once, ascending, after NO_ROW padding; none where has_context[n] is False."""
        candidates = np.sort(candidates, axis=1)
        is_first = self.model.is_known(candidates) & has_context[:, None]
        is_first[:, 1:] &= candidates[:, 1:] != candidates[:, :-1]
        candidates = np.where(is_first, candidates, NO_ROW)
        candidates.sort(axis=1)
        return candidates[:, (candidates < 0).all(axis=0).sum() :]

    def score(self, requests: ListRequests, items: Rows) -> Weights:
        """The likelihood of items int32[n, c], float32[n, c], on a scale of its own for each request; 0
        for an unknown item."""
        sessions, _, _ = self.model.sessions(requests.context)
        known = self.model.is_known(items)
        if not known.any():
            return np.zeros(items.shape, np.float32)
        scores = self.model.scores(sessions, np.where(known, items, 0))
        return np.where(known, np.exp(scores), np.float32(0))

    def _reasons(self, items: Rows, share: Weights, context: Rows) -> Rows:
        """The context item that adds most to each listed item's score, where it adds at all."""
        vectors = self.model.vectors
        context_vectors = vectors.take(context, axis=0) * share[:, :, None]
        contributions = np.matmul(
            context_vectors, vectors.take(items, axis=0, mode="clip").transpose(0, 2, 1)
        )
        largest = np.zeros(items.shape, np.float32)
        because = np.full(items.shape, NO_ROW, np.int32)
        for position in range(context.shape[1]):
            is_larger = (contributions[:, position] > largest) & (items >= 0)
            because = np.where(is_larger, context[:, position, None], because)
            largest = np.maximum(largest, contributions[:, position])
        return because

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
