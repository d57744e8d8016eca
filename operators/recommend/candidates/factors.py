"""The list learner over `ImplicitFactors`: it puts in order what the other learners named.

Alone it would have to look at every item of the shop for each request; what the others name holds nearly
all that it would find, and costs the same in a shop of any size. `score` answers for any item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.models.session_factors import ImplicitFactors, Settings
from operators.tables.array_ops import descending
from operators.tables.table import Kept, Table
from state.interactions import NOBODY, empty_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Interactions, Lists, Requests, Rows, Weights

_LAST = np.iinfo(np.int64).max
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
        named = self._once(requests.named, share.sum(axis=1) > 0)
        n, width = named.shape
        lists = empty_lists(n, k)
        if not width:
            return lists
        is_item = named >= 0
        items = np.maximum(named, 0)
        said = np.where(is_item, self.model.said(sessions, items), -np.inf)
        most = np.maximum(said.max(axis=1, keepdims=True), np.finfo(np.float32).min)
        score = np.exp(said - most)
        # Items ascend along a row, so that a tie goes to the lower one.
        order = np.where(is_item, descending(score) << 32 | np.arange(width), _LAST)
        order.sort(axis=1)
        order = order[:, :k]
        place = (order & 0xFFFFFFFF) + np.arange(0, n * width, width)[:, None]
        place[order == _LAST] = 0
        found = order != _LAST
        shown = slice(0, order.shape[1])
        lists.item[:, shown] = np.where(found, items.take(place), NOBODY)
        lists.score[:, shown] = np.where(found, score.take(place), 0)
        lists.because[:, shown] = self._because(lists.item[:, shown], share, near)
        return lists

    def _once(self, named: Rows, told: NDArray[np.bool_]) -> Rows:
        """Each known item once, ascending, NOBODY before them; nothing where told[n] is not."""
        named = np.sort(named, axis=1)
        kept = self.model.known(named) & told[:, None]
        kept[:, 1:] &= named[:, 1:] != named[:, :-1]
        named = np.where(kept, named, NOBODY)
        named.sort(axis=1)
        return named[:, (named < 0).all(axis=0).sum() :]

    def score(self, requests: Requests, items: Rows) -> Weights:
        """How likely given items int32[n, c] are, float32[n, c], on a scale of its own for each request;
        0 for an item never learned."""
        sessions, _, _ = self.model.sessions(requests.context)
        known = self.model.known(items)
        if not known.any():
            return np.zeros(items.shape, np.float32)
        said = self.model.said(sessions, np.where(known, items, 0))
        return np.where(known, np.exp(said), np.float32(0))

    def _because(self, items: Rows, share: Weights, near: Rows) -> Rows:
        """The context item that adds most to each listed item's score, where it adds at all."""
        vectors = self.model.vectors
        around = vectors.take(near, axis=0) * share[:, :, None]
        adds = np.matmul(around, vectors.take(items, axis=0, mode="clip").transpose(0, 2, 1))
        most = np.zeros(items.shape, np.float32)
        because = np.full(items.shape, NOBODY, np.int32)
        for place in range(near.shape[1]):
            more = (adds[:, place] > most) & (items >= 0)
            because = np.where(more, near[:, place, None], because)
            most = np.maximum(most, adds[:, place])
        return because

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
