"""Two other incremental factorizations, plain, to be held against `SessionFactors`.

Not part of the product: `benchmarks.factors` shows why. Rows of shoppers and items are known
beforehand; each event is learned alone, in order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows
    from state.interactions import Interactions, ListRequests

    Matrix = NDArray[np.float64]

FACTORS = 32


class Scoring(Protocol):
    """What is compared."""

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order."""

    def score(self, requests: ListRequests, items: Rows) -> NDArray[np.floating]:
        """Scores [n, c] of given items [n, c]."""


class Isgd:
    """Positives only, one step an event: Vinagre, Jorge, Gama, UMAP 2014."""

    def __init__(self, shoppers: int, items: int, *, rate: float = 0.2, l2: float = 0.1) -> None:
        rng = np.random.default_rng(1)
        self.shoppers: Matrix = rng.normal(0, 0.1, (shoppers, FACTORS))
        self.items: Matrix = rng.normal(0, 0.1, (items, FACTORS))
        self.rate, self.l2 = rate, l2

    def learn_many(self, batch: Interactions) -> None:
        """A step towards 1 for each event."""
        for shopper, item in zip(batch.shopper.tolist(), batch.item.tolist(), strict=True):
            p, q = self.shoppers[shopper], self.items[item]
            error = 1 - p @ q
            moved = p + self.rate * (error * q - self.l2 * p)
            self.items[item] = q + self.rate * (error * p - self.l2 * q)
            self.shoppers[shopper] = moved

    def score(self, requests: ListRequests, items: Rows) -> NDArray[np.floating]:
        """Inner products."""
        return _products(self.shoppers[requests.shopper], self.items, items)


class Eals:
    """Everything not taken counts as 0, weighted by popularity, in closed form.

    After each event the shopper's vector, then the item's, is solved anew from the last `kept` items
    of the shopper (each `fading` times the one after it) and the last `kept` shoppers of the item: He,
    Zhang, Kan, Chua, "Fast matrix factorization for online recommendation with implicit feedback",
    SIGIR 2016, by whole vectors instead of element by element.
    """

    def __init__(
        self,
        shoppers: int,
        items: int,
        *,
        kept: int = 64,
        missing: float = 512.0,
        power: float = 0.5,
        fading: float = 0.9,
        l2: float = 0.1,
    ) -> None:
        self.shoppers = np.zeros((shoppers, FACTORS))
        self.items: Matrix = np.random.default_rng(1).normal(0, 0.1, (items, FACTORS))
        self.counts = np.zeros(items)
        self.taken: list[list[int]] = [[] for _ in range(shoppers)]
        self.takers: list[list[int]] = [[] for _ in range(items)]
        self.kept, self.missing, self.power, self.fading = kept, missing, power, fading
        self.pull = l2 * np.eye(FACTORS)
        self.learned = 0

    def learn_many(self, batch: Interactions) -> None:
        """Solve for both sides of each event."""
        for shopper, item in zip(batch.shopper.tolist(), batch.item.tolist(), strict=True):
            if self.learned % 256 == 0:
                self._sum_up()
            self.learned += 1
            self.counts[item] += 1
            taken = self.taken[shopper] = [item, *self.taken[shopper]][: self.kept]
            takers = self.takers[item] = [shopper, *self.takers[item]][: self.kept]
            weight: Matrix = np.power(self.fading, np.arange(len(taken)))
            other = np.maximum(weight - self.confidence[taken], 0)
            before = self.shoppers[shopper]
            after = _solved(self.of_items + self.pull, self.items[taken], weight, other)
            self.of_shoppers += np.outer(after, after) - np.outer(before, before)
            self.shoppers[shopper] = after
            zero = self.confidence[item]
            one = np.ones(len(takers))
            all_zero = zero * self.of_shoppers + self.pull
            self.items[item] = _solved(
                all_zero, self.shoppers[takers], one, one * max(1 - zero, 0.0)
            )

    def _sum_up(self) -> None:
        share: Matrix = np.power(self.counts, self.power)
        self.confidence: Matrix = np.multiply(share, self.missing / max(float(share.sum()), 1.0))
        self.of_items = (self.items * self.confidence[:, None]).T @ self.items
        self.of_shoppers: Matrix = np.dot(self.shoppers.T, self.shoppers)

    def score(self, requests: ListRequests, items: Rows) -> NDArray[np.floating]:
        """Inner products."""
        return _products(self.shoppers[requests.shopper], self.items, items)


def _solved(every: Matrix, rows: Matrix, weight: Matrix, more: Matrix) -> Matrix:
    """The vector whose products with rows are nearest to 1, those with all others to 0."""
    solved = np.linalg.solve(every + (rows * more[:, None]).T @ rows, weight @ rows)
    return np.asarray(solved, np.float64)


def _products(taste: Matrix, table: Matrix, items: Rows) -> NDArray[np.floating]:
    products: NDArray[np.floating] = np.take_along_axis(taste @ table.T, items, axis=1)
    return products
