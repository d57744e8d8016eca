"""The list learner over `ImplicitFactors`: it puts in order what the other learners named.

Alone it would have to look at every item of the shop for each request; what the others name holds nearly
all that it would find, and costs the same in a shop of any size. `score` answers for any item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.learners.implicit_factors import ImplicitFactors, Settings
from operators.learners.table import Kept, Table
from operators.ranking import heaviest, sums
from state.interactions import NOBODY, empty_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.learners.table import Arrays
    from state.interactions import Interactions, Lists, Requests, Rows, Weights

REQUESTS_AT_ONCE = 128
"""Requests answered together: the columns in between then stay in the cache."""


class FactorsLearner(Kept):
    """Factors of sessions and items; a `Learner`.

    A request whose session holds nothing known, or for which nothing was named, gets an empty list.
    Scores are chances among the items named, over that of the first.
    """

    asked_last = True

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 7, name: str = "factors"
    ) -> None:
        self.name = name
        self.model = ImplicitFactors(settings or Settings(), seed)

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order."""
        self.model.learn(batch.item, batch.weight, batch.at_ms, batch.context)

    def candidates(self, requests: Requests, k: int) -> Lists:
        """At most k of the items named for each request, best first."""
        lists = empty_lists(len(requests), k)
        for start in range(0, len(requests), REQUESTS_AT_ONCE):
            part = slice(start, start + REQUESTS_AT_ONCE)
            best = self._best(requests.part(part), k)
            lists.item[part], lists.score[part] = best.item, best.score
            lists.because[part] = best.because
        return lists

    def _best(self, requests: Requests, k: int) -> Lists:
        sessions, share, near = self.model.sessions(requests.context)
        named = np.where(self.model.known(requests.named), requests.named, NOBODY)
        named[share.sum(axis=1) == 0] = NOBODY
        of = sums(named, np.zeros(named.shape, np.float32))
        n = len(requests)
        if not len(of.row):
            return empty_lists(n, k)
        said = self.model.said(sessions[of.row], of.item)
        first = np.flatnonzero(np.diff(of.row, prepend=-1))
        most = np.repeat(np.maximum.reduceat(said, first), np.diff(first, append=len(said)))
        lists = heaviest(of, np.exp(said - most), np.full(len(said), NOBODY, np.int32), n, k)
        lists.because[:] = self._because(lists.item, share, near)
        return lists

    def score(self, requests: Requests, items: Rows) -> Weights:
        """How likely given items int32[n, c] are, float32[n, c], on a scale of its own for each request;
        0 for an item never learned."""
        sessions, _, _ = self.model.sessions(requests.context)
        known = self.model.known(items)
        scores = np.zeros(items.shape, np.float32)
        row, _ = known.nonzero()
        if len(row):
            scores[known] = np.exp(self.model.said(sessions[row], items[known]))
        return scores

    def _because(self, items: Rows, share: Weights, near: Rows) -> Rows:
        """The context item that adds most to each listed item's score, where it adds at all."""
        vectors = self.model.vectors
        adds = vectors[items] @ (vectors[near] * share[:, :, None]).transpose(0, 2, 1)
        most = adds.argmax(axis=2)
        because = np.take_along_axis(near, most, axis=1)
        return np.where((adds.max(axis=2) > 0) & (items >= 0), because, NOBODY).astype(np.int32)

    def forget_shoppers(self, rows: Rows) -> None:
        """Nothing here is about a shopper."""

    def forget_items(self, rows: Rows) -> None:
        """These items were never learned."""
        self.model.forget_items(rows)

    def tables(self) -> Sequence[Table]:
        """What is learned of items, and which of them live."""
        return self.model.tables()

    def small(self) -> Arrays:
        """Chance, the clock and what places count."""
        return self.model.small()

    def restore(self, arrays: Arrays) -> None:
        """Take over a state that `arrays` gave, of a learner made with the same settings."""
        self.model.restore(arrays)
