"""The list learner over `ImplicitFactors`: tastes times the pool of live items, best first.

Lists are made from a bounded pool, so that a request costs the same in a shop of any size; `score`
answers for any item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.learners.implicit_factors import ImplicitFactors, Settings
from operators.learners.table import Kept, Table
from state.interactions import NOBODY, empty_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.learners.table import Arrays
    from state.interactions import Interactions, Lists, Requests, Rows, Weights

REQUESTS_AT_ONCE = 256
"""Requests scored against the pool at once: 2 MB of scores, which stay in the cache."""
GROUPS = 256


class FactorsLearner(Kept):
    """Incremental matrix factorization of implicit feedback; a `Learner`.

    A request of whom nothing is known, neither shopper nor context, gets an empty list: popularity
    is another learner's business. Scores are inner products, 0 for "nothing known".
    """

    def __init__(
        self, settings: Settings | None = None, *, seed: int = 7, name: str = "factors"
    ) -> None:
        self.name = name
        self.model = ImplicitFactors(settings or Settings(), seed)

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order; about 2 microseconds an event."""
        self.model.learn(batch.shopper, batch.item, batch.weight, batch.at_ms, batch.context)

    def candidates(self, requests: Requests, k: int) -> Lists:
        """At most k items of the pool for each request, best first."""
        lists = empty_lists(len(requests), k)
        pool = self.model.live.pool
        if not len(pool):
            return lists
        vectors = np.ascontiguousarray(self.model.items[pool].T)
        taste, share, near = self.model.tastes(requests.shopper, requests.now_ms, requests.context)
        for start in range(0, len(requests), REQUESTS_AT_ONCE):
            part = slice(start, start + REQUESTS_AT_ONCE)
            places, scores = best(taste[part] @ vectors, k)
            width = places.shape[1]
            items = pool[places]
            lists.item[part, :width] = items
            lists.score[part, :width] = scores
            lists.because[part, :width] = self._because(items, share[part], near[part])
        unknown = ~taste.any(axis=1)
        lists.item[unknown], lists.because[unknown] = NOBODY, NOBODY
        return lists

    def score(self, requests: Requests, items: Rows) -> Weights:
        """Scores float32[n, c] of given items int32[n, c]; 0 for an item never learned."""
        taste, _, _ = self.model.tastes(requests.shopper, requests.now_ms, requests.context)
        scores = np.zeros(items.shape, np.float32)
        for start in range(0, len(requests), REQUESTS_AT_ONCE):
            part = slice(start, start + REQUESTS_AT_ONCE)
            known = self.model.known(items[part])
            if known.any():
                vectors = self.model.items[np.where(known, items[part], 0)]
                scores[part] = known * (vectors @ taste[part, :, None])[:, :, 0]
        return scores

    def _because(self, items: Rows, share: Weights, near: Rows) -> Rows:
        """The context item that adds most to each listed item's score, where it adds at all."""
        if not share.shape[1]:
            return np.full(items.shape, NOBODY, np.int32)
        context = self.model.items[near] * share[:, :, None]
        adds = self.model.items[items] @ context.transpose(0, 2, 1)
        most = adds.argmax(axis=2)
        because = np.take_along_axis(near, most, axis=1)
        return np.where(adds.max(axis=2) > 0, because, NOBODY).astype(np.int32)

    def forget_shoppers(self, rows: Rows) -> None:
        """These shoppers never did anything."""
        self.model.forget_shoppers(rows)

    def forget_items(self, rows: Rows) -> None:
        """These items were never learned."""
        self.model.forget_items(rows)

    def tables(self) -> Sequence[Table]:
        """Vectors of shoppers, vectors of items, and which items live."""
        return self.model.tables()

    def small(self) -> Arrays:
        """Chance, the clock and the pool."""
        return self.model.small()

    def restore(self, arrays: Arrays) -> None:
        """Take over a state that `arrays` gave, of a learner made with the same settings."""
        self.model.restore(arrays)


def best(scores: Weights, k: int) -> tuple[NDArray[np.intp], Weights]:
    """Places and values of the k highest in each row, best first, of scores float32[n, m].

    The k highest lie in the k groups with the highest maxima, so only those are looked into: half
    the time of a partition of the whole row. Fewer than k where m is.

    >>> best(np.array([[1.0, 3.0, 2.0]], np.float32), 2)[0].tolist()
    [[1, 2]]
    """
    n, m = scores.shape
    k = min(k, m)
    deep = m // GROUPS
    if deep < 4 or k >= GROUPS // 2:
        places = _highest(scores, k)
    else:
        # Columns g, g + GROUPS, g + 2 GROUPS ... form group g; what is over is looked into always.
        even = scores[:, : deep * GROUPS].reshape(n, deep, GROUPS)
        groups = _highest(even.max(axis=1), k)
        inside = (groups[:, None, :] + GROUPS * np.arange(deep)[:, None]).reshape(n, -1)
        over = np.broadcast_to(np.arange(deep * GROUPS, m), (n, m - deep * GROUPS))
        looked_at = np.concatenate([inside, over], axis=1)
        found = _highest(np.take_along_axis(scores, looked_at, axis=1), k)
        places = np.take_along_axis(looked_at, found, axis=1)
    values = np.take_along_axis(scores, places, axis=1)
    order = np.argsort(-values, axis=1, kind="stable")
    return np.take_along_axis(places, order, axis=1), np.take_along_axis(values, order, axis=1)


def _highest(scores: Weights, k: int) -> NDArray[np.intp]:
    """Places of the k highest in each row, in no order."""
    m = scores.shape[1]
    if k >= m:
        return np.broadcast_to(np.arange(m), scores.shape)
    return np.argpartition(scores, m - k, axis=1)[:, m - k :]
