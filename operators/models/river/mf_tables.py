"""Explicit feedback: biased matrix factorization on integer rows, one rating at a time or many.

The model is rating = mean + user bias + item bias + <user factors, item factors>, learned by
stochastic gradient descent on the squared error (Koren, Bell, Volinsky, "Matrix factorization
techniques for recommender systems", IEEE Computer 2009).

Oracle: River's `reco.BiasedMF`, and without biases its `reco.FunkMF`; every step is theirs. Change only
together with `tests/operators/models/river/test_mf_ranker.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.tables.growable import GrowableArray

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    Floats = NDArray[np.floating[Any]]
    Ints = NDArray[np.integer[Any]]

VECTORS_PER_DRAW = 64
VECTORISE_FROM = 6
"""Events of a round from which array operations are faster than one step after the other."""


class InitialVectors:
    """The sequence of vectors that new users and items start from, normal around 0.

    A vector can be read before it is consumed. So an id never seen is answered with the vector it would
    start from, and a read consumes nothing.
    """

    def __init__(self, n_factors: int, sigma: float, seed: int | None) -> None:
        self.n_factors = n_factors
        self.sigma = sigma
        # River's initializer draws from this older generator: same seed, same vectors.
        self._rng = np.random.RandomState(seed)
        self._drawn = self._draw()
        self._consumed = 0

    def _draw(self) -> NDArray[np.float64]:
        return self._rng.normal(0.0, self.sigma, (VECTORS_PER_DRAW, self.n_factors))

    def peek(self, ahead: int) -> NDArray[np.float64]:
        """The vector that is consumed after `ahead` others, float64[f]; `ahead` is 0 or 1."""
        if self._consumed + ahead >= len(self._drawn):
            self._drawn = np.concatenate([self._drawn[self._consumed :], self._draw()])
            self._consumed = 0
        vector: NDArray[np.float64] = self._drawn[self._consumed + ahead]
        return vector

    def consume(self) -> NDArray[np.float64]:
        """The next vector, float64[f]."""
        vector = self.peek(0)
        self._consumed += 1
        return vector


class FactorTables:
    """Factors and biases of users and items: rows 0.. in the order of `add_user` and `add_item`.

    A negative row stands for a user or item never seen: bias 0 and the vector it would start from.
    Rates are step sizes of gradient descent, `l2` pulls towards 0; `biased=False` leaves only the
    product of factors.
    """

    def __init__(
        self,
        initial: InitialVectors,
        *,
        bias_rate: float,
        factor_rate: float,
        l2_bias: float,
        l2_factors: float,
        biased: bool,
        dtype: DTypeLike,
    ) -> None:
        self.initial = initial
        self.bias_rate = bias_rate
        self.factor_rate = factor_rate
        self.l2_bias = l2_bias
        self.l2_factors = l2_factors
        self.biased = biased
        width = (initial.n_factors,)
        self.user_factors: GrowableArray[Any] = GrowableArray(width, dtype)
        self.item_factors: GrowableArray[Any] = GrowableArray(width, dtype)
        self.user_bias: GrowableArray[Any] = GrowableArray((), dtype)
        self.item_bias: GrowableArray[Any] = GrowableArray((), dtype)
        self.mean = 0.0
        self.learned = 0

    def add_user(self) -> int:
        """Add a user; returns its row."""
        return self._add(self.user_factors, self.user_bias)

    def add_item(self) -> int:
        """Add an item; returns its row."""
        return self._add(self.item_factors, self.item_bias)

    def _add(self, factors: GrowableArray[Any], bias: GrowableArray[Any]) -> int:
        factors.append(self.initial.consume()[None, :])
        bias.append(np.zeros(1))
        return len(factors) - 1

    def predict(self, user: int, item: int) -> float:
        """The expected rating; rows may be negative."""
        p = self.user_factors.rows[user] if user >= 0 else self.initial.peek(0)
        q = self.item_factors.rows[item] if item >= 0 else self.initial.peek(int(user < 0))
        rating = float(p.dot(q))
        if self.biased:
            rating += self.mean
            rating += float(self.user_bias.rows[user]) if user >= 0 else 0.0
            rating += float(self.item_bias.rows[item]) if item >= 0 else 0.0
        return rating

    def predict_items(self, user: int, items: Ints) -> Floats:
        """The expected ratings of many items by one user, float[m], as one product."""
        unseen_item = self.initial.peek(int(user < 0))
        p = self.user_factors.rows[user] if user >= 0 else self.initial.peek(0)
        known = items >= 0
        ratings = np.full(len(items), p.dot(unseen_item), np.float64)
        ratings[known] = self.item_factors.rows[items[known]] @ p
        if self.biased:
            ratings += self.mean + (float(self.user_bias.rows[user]) if user >= 0 else 0.0)
            ratings[known] += self.item_bias.rows[items[known]]
        return ratings

    def learn_one(self, user: int, item: int, y: float) -> None:
        """One step of gradient descent for one rating."""
        self.learned += 1
        self.mean += (y - self.mean) / self.learned
        self._step(user, item, y, self.mean)

    def learn_many(self, users: Ints, items: Ints, ys: Floats) -> None:
        """The same as `learn_one` for each in order, in rounds in which no two share a row.

        A rating waits only for the earlier ones of the same user or item. So each step reads what it
        would have read one by one.
        """
        seen = self.learned + np.arange(1, len(ys) + 1)
        means = (self.mean * self.learned + np.cumsum(ys, dtype=np.float64)) / seen
        round_of = _conflict_free_rounds(users.tolist(), items.tolist())
        order = np.argsort(round_of, kind="stable")
        for round_events in np.split(order, np.cumsum(np.bincount(round_of))[:-1]):
            if len(round_events) >= VECTORISE_FROM:
                self._steps(
                    users[round_events], items[round_events], ys[round_events], means[round_events]
                )
            else:
                for n in round_events.tolist():
                    self._step(int(users[n]), int(items[n]), float(ys[n]), float(means[n]))
        if len(ys):
            self.learned += len(ys)
            self.mean = float(means[-1])

    def _step(self, user: int, item: int, y: float, mean: float) -> None:
        p, q = self.user_factors.rows[user], self.item_factors.rows[item]
        error = float(p.dot(q)) - y
        if self.biased:
            user_bias, item_bias = self.user_bias.rows, self.item_bias.rows
            bu, bi = float(user_bias[user]), float(item_bias[item])
            error += mean + bu + bi
            user_bias[user] = bu - self.bias_rate * (2.0 * error + self.l2_bias * bu)
            item_bias[item] = bi - self.bias_rate * (2.0 * error + self.l2_bias * bi)
        gradient = self.factor_rate * 2.0 * error
        shrink = 1.0 - self.factor_rate * self.l2_factors
        p_previous = p.copy()
        p *= shrink
        p -= gradient * q
        q *= shrink
        q -= gradient * p_previous

    def _steps(self, users: Ints, items: Ints, ys: Floats, means: Floats) -> None:
        p, q = self.user_factors.rows[users], self.item_factors.rows[items]
        error = np.einsum("nf,nf->n", p, q) - ys
        if self.biased:
            bu, bi = self.user_bias.rows[users], self.item_bias.rows[items]
            error += means + bu + bi
            self.user_bias.rows[users] = bu - self.bias_rate * (2.0 * error + self.l2_bias * bu)
            self.item_bias.rows[items] = bi - self.bias_rate * (2.0 * error + self.l2_bias * bi)
        gradient = (self.factor_rate * 2.0 * error)[:, None]
        shrink = 1.0 - self.factor_rate * self.l2_factors
        self.user_factors.rows[users] = shrink * p - gradient * q
        self.item_factors.rows[items] = shrink * q - gradient * p


def _conflict_free_rounds(users: list[int], items: list[int]) -> NDArray[np.intp]:
    """The round in which each event is learned: after all earlier ones that share a row with it.

    >>> _conflict_free_rounds([0, 0, 1], [5, 6, 6]).tolist()
    [0, 1, 2]
    """
    user_next: dict[int, int] = {}
    item_next: dict[int, int] = {}
    round_of = np.zeros(len(users), np.intp)
    for n, (user, item) in enumerate(zip(users, items, strict=True)):
        event_round = max(user_next.get(user, 0), item_next.get(item, 0))
        user_next[user] = item_next[item] = event_round + 1
        round_of[n] = event_round
    return round_of
