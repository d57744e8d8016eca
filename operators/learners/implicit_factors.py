"""Implicit feedback: factors from what shoppers did, against sampled items that they did not.

A shopper's taste is their own vector plus the mean of the vectors of what they looked at just
before, newest first and halving by position; an item's score is its product with the taste. So a
shopper never seen has a taste from the second click on, as in SVD++ (Koren, KDD 2008), here with
one table for both roles of an item. Each event pulls its item before `negatives` sampled ones by a
step of Bayesian personalized ranking (Rendle et al., UAI 2009), incrementally as ISGD does
(Vinagre, Jorge, Gama, UMAP 2014), which without negatives collapses.

Time: a shopper's own vector halves with each half-life without an event, and popularity, from which
negatives are drawn, halves alike. `benchmarks/factors.py` measures what the constants below do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from operators.learners.descent import descend
from operators.learners.growing import Growing
from operators.learners.live_items import LiveItems
from operators.learners.rng_state import rng_array, rng_from
from operators.learners.table import Kept, Table
from state.marks import Marks
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.learners.table import Arrays
    from state.interactions import Rows, Times, Weights

BLOCK = 1024
"""Events learned at once. The caller's batches may have any length; see `descent` for blocks."""
MARGIN_MAX = 30.0
WEIGHED_EVENTS = 65_536
"""Events that the mean weight reaches back over."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to learn. Rates are steps of gradient descent."""

    n_factors: int = 32
    item_rate: float = 0.07
    user_rate: float = 0.035
    l2: float = 0.01
    sigma: float = 0.2
    negatives: int = 4
    negative_power: float = 0.5
    context_max: int = 5
    context_decay: float = 0.5
    half_life_days: float = 30.0
    pool_max: int = 2048


class ImplicitFactors(Kept):
    """Vectors of shoppers and items on integer rows, learned from blocks of events."""

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.half_life_ms = settings.half_life_days * DAY_MS
        self.live = LiveItems(
            half_life_ms=self.half_life_ms,
            pool_max=settings.pool_max,
            power=settings.negative_power,
        )
        self._rng = np.random.default_rng(seed)
        self._weighed = np.zeros(2)
        self._users: Growing[np.float32] = Growing((settings.n_factors,), np.float32)
        self._users_ms: Growing[np.int64] = Growing((), np.int64)
        self._items: Growing[np.float32] = Growing((settings.n_factors,), np.float32)
        self._user_marks, self._item_marks = Marks(), Marks()
        positions = np.arange(settings.context_max)
        self._decay = (settings.context_decay**positions).astype(np.float32)

    @property
    def items(self) -> Weights:
        """Item vectors, float32[n, f]; a view."""
        return self._items.rows

    @property
    def n_shoppers(self) -> int:
        """How many shoppers have a vector."""
        return len(self._users)

    def learn(
        self, shoppers: Rows, items: Rows, weights: Weights, at_ms: Times, context: Rows
    ) -> None:
        """Learn n events in their order; shapes as in `state.interactions.Interactions`."""
        for start in range(0, len(items), BLOCK):
            part = slice(start, start + BLOCK)
            self._learn_block(
                shoppers[part], items[part], weights[part], at_ms[part], context[part]
            )

    def _learn_block(
        self, shoppers: Rows, items: Rows, weights: Weights, at_ms: Times, context: Rows
    ) -> None:
        settings = self.settings
        self._grow(int(shoppers.max()) + 1, int(items.max()) + 1)
        self.live.count(items, at_ms)
        self._fade(shoppers, at_ms)
        others = self.live.negatives(self._rng, items, settings.negatives)

        share, near = self._shares(context)
        own, liked = self._users.rows[shoppers], self.items[items]
        disliked = self.items[others]
        taste = own + np.einsum("nr,nrf->nf", share, self.items[near])
        margin = np.einsum("nf,nf->n", taste, liked)[:, None] - np.einsum(
            "nf,nkf->nk", taste, disliked
        )
        # The chance that the shopper would have taken the other item: the step's length.
        wrong = self._relative(weights)[:, None] / (1.0 + np.exp(np.minimum(margin, MARGIN_MAX)))
        pull = wrong.sum(axis=1)[:, None]

        rate, l2 = settings.item_rate, settings.l2
        towards = pull * liked - np.einsum("nk,nkf->nf", wrong, disliked)
        away = -wrong[:, :, None] * taste[:, None, :] - l2 * disliked
        away = away.reshape(-1, taste.shape[1])
        has_context = share > 0
        through = share[has_context, None] * towards[has_context.nonzero()[0]]
        moved = np.concatenate([items, others.reshape(-1), near[has_context]])
        self._user_marks.mark(shoppers)
        self._item_marks.mark(moved)
        descend(self._users.rows, shoppers, settings.user_rate * (towards - l2 * own))
        descend(
            self.items,
            moved,
            np.float32(rate) * np.concatenate([pull * taste - l2 * liked, away, through]),
        )

    def _relative(self, weights: Weights) -> Weights:
        """Weights over their mean lately: where all is bought, a purchase is nothing special."""
        n = len(weights)
        self._weighed *= (1 - 1 / WEIGHED_EVENTS) ** n
        self._weighed += weights.sum(dtype=np.float64), n
        total, events = self._weighed
        return (weights * (events / total if total > 0 else 1.0)).astype(np.float32)

    def _grow(self, n_shoppers: int, n_items: int) -> None:
        new = max(0, n_shoppers - len(self._users))
        # Nobody has a taste of their own before their first event.
        self._users.append(np.zeros((new, self.settings.n_factors), np.float32))
        self._users_ms.append(np.zeros(new, np.int64))
        size = (max(0, n_items - len(self._items)), self.settings.n_factors)
        drawn = self._rng.standard_normal(size, dtype=np.float32)
        self._items.append(np.float32(self.settings.sigma) * drawn)
        self.live.grow(n_items)
        self._user_marks.reach(n_shoppers)
        self._item_marks.reach(n_items)

    def forget_shoppers(self, rows: Rows) -> None:
        """These shoppers never did anything."""
        rows = rows[rows < self.n_shoppers]
        self._users.rows[rows], self._users_ms.rows[rows] = 0, 0
        self._user_marks.mark(rows)

    def forget_items(self, rows: Rows) -> None:
        """These items were never learned: they have new vectors to start from."""
        rows = rows[rows < len(self.items)]
        if not len(rows):
            return
        drawn = self._rng.standard_normal((len(rows), self.settings.n_factors), dtype=np.float32)
        self.items[rows] = np.float32(self.settings.sigma) * drawn
        self._item_marks.mark(rows)
        self.live.forget(rows)

    def _fade(self, shoppers: Rows, at_ms: Times) -> None:
        rows = np.unique(shoppers)
        before_ms = self._users_ms.rows[rows]
        np.maximum.at(self._users_ms.rows, shoppers, at_ms)
        kept = self._kept(self._users_ms.rows[rows] - before_ms)
        self._users.rows[rows] *= kept[:, None]

    def _kept(self, elapsed_ms: Times) -> Weights:
        """What is left of a shopper's own vector after a time, float32 of the same shape."""
        return np.exp2(-np.maximum(elapsed_ms, 0) / self.half_life_ms).astype(np.float32)

    def _shares(self, context: Rows) -> tuple[Weights, Rows]:
        """How much each known context item counts, float32[n, r], and its row or 0, int32[n, r]."""
        context = context[:, : self.settings.context_max]
        known = self.known(context)
        share = self._decay[: context.shape[1]] * known
        share /= np.maximum(share.sum(axis=1, keepdims=True), np.float32(1e-9))
        return share, np.where(known, context, 0)

    def known(self, items: Rows) -> NDArray[np.bool_]:
        """Which of these item rows were ever learned; any shape, any rows."""
        inside = (items >= 0) & (items < len(self.items))
        known: NDArray[np.bool_] = inside.copy()
        known[inside] = self.live.popularity[items[inside]] > 0
        return known

    def tastes(self, shoppers: Rows, now_ms: Times, context: Rows) -> tuple[Weights, Weights, Rows]:
        """Tastes float32[n, f], and the context's shares float32[n, r] and rows int32[n, r].

        All zero for a shopper of whom nothing is known; rows may lie beyond what was learned.
        """
        share, near = self._shares(context)
        taste = np.zeros((len(shoppers), self.settings.n_factors), np.float32)
        if len(self.items):
            taste += np.einsum("nr,nrf->nf", share, self.items[near])
        known = (shoppers >= 0) & (shoppers < self.n_shoppers)
        rows = shoppers[known]
        kept = self._kept(now_ms[known] - self._users_ms.rows[rows])
        taste[known] += kept[:, None] * self._users.rows[rows]
        return taste, share, near

    def tables(self) -> Sequence[Table]:
        """Vectors of shoppers, vectors of items, and which items live."""
        users: Arrays = {"users": self._users.rows, "users_ms": self._users_ms.rows}
        items = Table({"items": self.items}, self._item_marks)
        return [Table(users, self._user_marks), items, *self.live.tables()]

    def small(self) -> Arrays:
        """Chance, the clock and the pool."""
        return {"rng": rng_array(self._rng), "weighed": self._weighed.copy(), **self.live.small()}

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave, of a model with the same settings."""
        n_factors = arrays["items"].shape[1]
        if n_factors != self.settings.n_factors:
            raise ValueError(
                f"the snapshot holds {n_factors} factors, the settings ask for "
                f"{self.settings.n_factors}: start the learner with the settings it was saved with"
            )
        for table, name in (
            (self._users, "users"),
            (self._users_ms, "users_ms"),
            (self._items, "items"),
        ):
            table.replace(arrays[name])
        self._rng = rng_from(arrays["rng"])
        self._weighed = arrays.get("weighed", np.zeros(2)).astype(np.float64)
        self.live.restore(arrays)
        self._user_marks, self._item_marks = Marks(self.n_shoppers), Marks(len(self.items))
