"""Implicit feedback: session factors as a River ranker, for ids of any hashable type.

The model is `operators/models/session_factors.py`; this file adds ids and River's interface. River has
no ranker of this kind, so there is no oracle. Constructor arguments are attributes of the same name,
since River clones by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from river.reco.base import Ranker

from operators.models.session_factors import SessionFactors, SessionFactorsConfig
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from numpy.typing import NDArray


class SessionFactorsRanker(Ranker):
    """Factors of sessions and items, learned against sampled items.

    `x` may give time and context: `{"at_ms": int, "context": [item, ...]}`, newest first. Without a
    context the last items of the user count. A true `y` is an interaction; a false one is ignored,
    since negative examples are sampled.

    Parameters
    ----------
    n_factors
        Length of the vector of an item.
    inverse_temperature
        How much more likely an item is that is nearer to the session.
    rate
        First step size of a vector, whose length is 1.
    negatives
        Items sampled as negative examples for each block of events.
    context_max
        Items of a session, or last items of a user, that count.
    half_life_days
        Time in which an item's popularity halves.
    seed
        Seed of first vectors and samples.

    Examples
    --------
    >>> model = SessionFactorsRanker(seed=1)
    >>> for n in range(200):
    ...     model.learn_one("ann", ["mug", "cup"][n % 2], True, {"at_ms": n})
    ...     model.learn_one("bob", ["hat", "cap"][n % 2], True, {"at_ms": n})
    >>> sorted(model.rank("ann", ["cap", "mug", "hat", "cup"])[:2])
    ['cup', 'mug']

    References
    ----------
    [^1]: Hou, Y., Hu, B., Zhang, Z., Zhao, W. X., 2022. CORE: simple and effective session-based
    recommendation within consistent representation space. SIGIR.
    [^2]: Hidasi, B., Karatzoglou, A., 2018. Recurrent neural networks with top-k gains for
    session-based recommendations. CIKM.

    """

    def __init__(
        self,
        n_factors: int = 64,
        inverse_temperature: float = 9.0,
        rate: float = 0.6,
        negatives: int = 512,
        context_max: int = 5,
        half_life_days: float = 30.0,
        seed: int = 7,
    ) -> None:
        super().__init__(seed=seed)
        self.n_factors = n_factors
        self.inverse_temperature = inverse_temperature
        self.rate = rate
        self.negatives = negatives
        self.context_max = context_max
        self.half_life_days = half_life_days
        self.model = SessionFactors(
            SessionFactorsConfig(
                n_factors=n_factors,
                inverse_temperature=inverse_temperature,
                rate=rate,
                negatives=negatives,
                context_max=context_max,
                half_life_days=half_life_days,
            ),
            seed,
        )
        self._items: dict[Hashable, int] = {}
        self._history: dict[Hashable, list[int]] = {}

    def learn_one(
        self, user: Hashable, item: Hashable, y: Any, x: dict[str, Any] | None = None
    ) -> None:
        """Learn that the user chose the item, if `y` is true."""
        self.learn_many([user], [item], [y], [x or {}])

    def learn_many(
        self,
        users: Sequence[Hashable],
        items: Sequence[Hashable],
        ys: Sequence[Any],
        xs: Sequence[dict[str, Any]] | None = None,
    ) -> None:
        """Learn many at once; changes of one row in a block are summed."""
        rows, contexts, times_ms = [], [], []
        for n, (user, item, y) in enumerate(zip(users, items, ys, strict=True)):
            if not y:
                continue
            x = xs[n] if xs else {}
            contexts.append(self._context(user, x))
            rows.append(self._items.setdefault(item, len(self._items)))
            times_ms.append(x.get("at_ms", 0))
            self._history[user] = [rows[-1], *self._history.get(user, ())][: self.context_max]
        if rows:
            self.model.learn(
                np.array(rows, np.int32),
                np.ones(len(rows), np.float32),
                np.array(times_ms, np.int64),
                np.array(contexts, np.int32),
            )

    def predict_one(self, user: Hashable, item: Hashable, x: dict[str, Any] | None = None) -> Any:
        """The item's score for this user, a float: only comparisons between items mean something."""
        return float(self._scores(user, [item], x or {})[0])

    def rank(
        self, user: Hashable, items: Iterable[Hashable], x: dict[str, Any] | None = None
    ) -> list[Hashable]:
        """The items by falling score, as one matrix product."""
        names = [*items]
        scores = self._scores(user, names, x or {})
        return [names[n] for n in np.argsort(-scores, kind="stable")]

    def _scores(
        self, user: Hashable, items: list[Hashable], x: dict[str, Any]
    ) -> NDArray[np.float32]:
        sessions, _, _ = self.model.sessions(np.array([self._context(user, x)], np.int32))
        rows = np.array([self._items.get(item, NO_ROW) for item in items], np.int32)
        known = self.model.is_known(rows)
        scores = np.zeros(len(rows), np.float32)
        if known.any():
            scores[known] = np.exp(self.model.scores(sessions, rows[known][None])[0])
        return scores

    def _context(self, user: Hashable, x: dict[str, Any]) -> list[int]:
        """The rows of the context, newest first, NO_ROW-padded."""
        if "context" in x:
            previous = [self._items.get(item, NO_ROW) for item in x["context"]]
        else:
            previous = self._history.get(user, [])
        previous = previous[: self.context_max]
        return previous + [NO_ROW] * (self.context_max - len(previous))
