"""Ratings: biased matrix factorization as a River ranker, for users and items of any hashable type.

Oracle: River's `reco.BiasedMF`, without biases its `reco.FunkMF`; every step is theirs, and a test
compares them. Unlike theirs, a read never grows state, and `rank` is one matrix product. Constructor
arguments are attributes of the same name, since River clones by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from river.reco.base import Ranker

from operators.models.river.mf_tables import FactorTables, InitialVectors
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable


class MatrixFactorizationRanker(Ranker):
    """Biased matrix factorization of ratings, by stochastic gradient descent.

    Parameters
    ----------
    n_factors
        Length of the vector of a user, and of an item.
    bias_rate
        Step size of the biases.
    factor_rate
        Step size of the factors.
    l2_bias
        How strongly biases are pulled towards 0.
    l2_factors
        How strongly factors are pulled towards 0.
    biased
        With mean and biases, as `reco.BiasedMF`; without, as `reco.FunkMF`.
    sigma
        Standard deviation of the factors that users and items start from.
    dtype
        Type of the tables: float64 as River's, float32 for half the memory.
    seed
        Seed of the factors that users and items start from.

    Examples
    --------
    >>> model = MatrixFactorizationRanker(n_factors=2, seed=1)
    >>> for _ in range(50):
    ...     model.learn_one("ann", "mug", 5.0)
    ...     model.learn_one("ann", "cup", 1.0)
    >>> model.rank("ann", {"cup", "mug"})
    ['mug', 'cup']
    >>> round(model.predict_one("bob", "mug"))
    4

    References
    ----------
    [^1]: Koren, Y., Bell, R., Volinsky, C., 2009. Matrix factorization techniques for recommender
    systems. IEEE Computer 42(8).

    """

    def __init__(
        self,
        n_factors: int = 10,
        bias_rate: float = 0.025,
        factor_rate: float = 0.05,
        l2_bias: float = 0.0,
        l2_factors: float = 0.0,
        biased: bool = True,
        sigma: float = 0.1,
        dtype: Literal["float32", "float64"] = "float64",
        seed: int | None = None,
    ) -> None:
        super().__init__(seed=seed)
        self.n_factors = n_factors
        self.bias_rate = bias_rate
        self.factor_rate = factor_rate
        self.l2_bias = l2_bias
        self.l2_factors = l2_factors
        self.biased = biased
        self.sigma = sigma
        self.dtype = dtype
        self.tables = FactorTables(
            InitialVectors(n_factors, sigma, seed),
            bias_rate=bias_rate,
            factor_rate=factor_rate,
            l2_bias=l2_bias,
            l2_factors=l2_factors,
            biased=biased,
            dtype=dtype,
        )
        self._users: dict[Hashable, int] = {}
        self._items: dict[Hashable, int] = {}

    def learn_one(
        self, user: Hashable, item: Hashable, y: Any, x: dict[str, Any] | None = None
    ) -> None:
        """Learn one rating."""
        self.tables.learn_one(
            _get_or_add(self._users, user, self.tables.add_user),
            _get_or_add(self._items, item, self.tables.add_item),
            float(y),
        )

    def learn_many(
        self, users: Iterable[Hashable], items: Iterable[Hashable], ys: Iterable[float]
    ) -> None:
        """Learn many ratings, with the result of learning one after the other."""
        rows = [
            (
                _get_or_add(self._users, user, self.tables.add_user),
                _get_or_add(self._items, item, self.tables.add_item),
            )
            for user, item in zip(users, items, strict=True)
        ]
        pairs = np.array(rows, np.int64).reshape(-1, 2)
        self.tables.learn_many(pairs[:, 0], pairs[:, 1], np.array([*ys], np.float64))

    def predict_one(self, user: Hashable, item: Hashable, x: dict[str, Any] | None = None) -> Any:
        """The expected rating, a float."""
        return self.tables.predict(self._users.get(user, NO_ROW), self._items.get(item, NO_ROW))

    def rank(
        self, user: Hashable, items: Iterable[Hashable], x: dict[str, Any] | None = None
    ) -> list[Hashable]:
        """The items by falling expected rating, as one matrix product."""
        names = [*items]
        rows = np.array([self._items.get(name, NO_ROW) for name in names], np.int64)
        ratings = self.tables.predict_items(self._users.get(user, NO_ROW), rows)
        return [names[n] for n in np.argsort(-ratings, kind="stable")]


def _get_or_add(rows: dict[Hashable, int], name: Hashable, add: Callable[[], int]) -> int:
    """The row of an id; `add` gives the row of a new id."""
    row = rows.get(name)
    if row is None:
        row = rows[name] = add()
    return row
