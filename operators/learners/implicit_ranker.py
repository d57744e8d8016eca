"""What users did: implicit matrix factorization as a River ranker, for ids of any hashable type.

The learning is `implicit_factors`; here are only ids and River's shape. Constructor arguments are
attributes of the same name, since River clones by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from river.reco.base import Ranker

from operators.learners import implicit_factors as implicit
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from numpy.typing import NDArray


class ImplicitFactors(Ranker):
    """Factors of what users did, learned against sampled items that they did not.

    The context `x` of learning and asking may say when and after what: `{"at_ms": int, "context":
    [item, ...]}`, newest first. A true `y` is something the user did; a false one teaches nothing,
    since the others are sampled.

    Parameters
    ----------
    n_factors
        Numbers that describe a user, and an item.
    item_rate
        Step of the item vectors.
    user_rate
        Step of the user vectors.
    l2
        How strongly vectors are pulled towards 0.
    negatives
        Items sampled against each one taken.
    half_life_days
        Time in which a user's vector and an item's popularity halve.
    seed
        Of first vectors and samples.

    Examples
    --------
    >>> model = ImplicitFactors(seed=1)
    >>> for n in range(200):
    ...     model.learn_one("ann", ["mug", "cup"][n % 2], True, {"at_ms": n})
    ...     model.learn_one("bob", ["hat", "cap"][n % 2], True, {"at_ms": n})
    >>> sorted(model.rank("ann", ["cap", "mug", "hat", "cup"])[:2])
    ['cup', 'mug']

    References
    ----------
    [^1]: Rendle, S., Freudenthaler, C., Gantner, Z., Schmidt-Thieme, L., 2009. BPR: Bayesian
    personalized ranking from implicit feedback. UAI.
    [^2]: Vinagre, J., Jorge, A. M., Gama, J., 2014. Fast incremental matrix factorization for
    recommendation with positive-only feedback. UMAP.

    """

    def __init__(
        self,
        n_factors: int = 32,
        item_rate: float = 0.07,
        user_rate: float = 0.035,
        l2: float = 0.01,
        negatives: int = 4,
        half_life_days: float = 30.0,
        seed: int = 7,
    ) -> None:
        super().__init__(seed=seed)
        self.n_factors = n_factors
        self.item_rate = item_rate
        self.user_rate = user_rate
        self.l2 = l2
        self.negatives = negatives
        self.half_life_days = half_life_days
        self.model = implicit.ImplicitFactors(
            implicit.Settings(
                n_factors=n_factors,
                item_rate=item_rate,
                user_rate=user_rate,
                l2=l2,
                negatives=negatives,
                half_life_days=half_life_days,
            ),
            seed,
        )
        self._users: dict[Hashable, int] = {}
        self._items: dict[Hashable, int] = {}

    def learn_one(
        self, user: Hashable, item: Hashable, y: Any, x: dict[str, Any] | None = None
    ) -> None:
        """Learn that the user took the item, if `y` is true."""
        self.learn_many([user], [item], [y], [x or {}])

    def learn_many(
        self,
        users: Sequence[Hashable],
        items: Sequence[Hashable],
        ys: Sequence[Any],
        xs: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        """Learn many at once; changes of one row in a block are summed."""
        took = [n for n, y in enumerate(ys) if y]
        if not took:
            return
        asked = [xs[n] if xs else {} for n in took]
        self.model.learn(
            np.array([self._users.setdefault(users[n], len(self._users)) for n in took], np.int32),
            np.array([self._items.setdefault(items[n], len(self._items)) for n in took], np.int32),
            np.ones(len(took), np.float32),
            np.array([x.get("at_ms", 0) for x in asked], np.int64),
            self._contexts(asked),
        )

    def predict_one(self, user: Hashable, item: Hashable, x: dict[str, Any] | None = None) -> Any:
        """The item's score for this user, a float: only comparisons between items mean something."""
        return float(self._scores(user, [item], x or {})[0])

    def rank(
        self, user: Hashable, items: Iterable[Hashable], x: dict[str, Any] | None = None
    ) -> list[Hashable]:
        """These items by falling score, as one matrix product."""
        names = [*items]
        scores = self._scores(user, names, x or {})
        return [names[n] for n in np.argsort(-scores, kind="stable")]

    def _scores(
        self, user: Hashable, items: list[Hashable], x: dict[str, Any]
    ) -> NDArray[np.float32]:
        taste, _, _ = self.model.tastes(
            np.array([self._users.get(user, NOBODY)], np.int32),
            np.array([x.get("at_ms", 0)], np.int64),
            self._contexts([x]),
        )
        rows = np.array([self._items.get(item, NOBODY) for item in items], np.int32)
        known = self.model.known(rows)
        scores = np.zeros(len(rows), np.float32)
        scores[known] = self.model.items[rows[known]] @ taste[0]
        return scores

    def _contexts(self, asked: Sequence[dict[str, Any]]) -> NDArray[np.int32]:
        rows = [[self._items.get(item, NOBODY) for item in x.get("context", ())] for x in asked]
        contexts = np.full((len(rows), max(map(len, rows))), NOBODY, np.int32)
        for n, row in enumerate(rows):
            contexts[n, : len(row)] = row
        return contexts
