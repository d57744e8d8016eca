"""Implicit feedback: vectors of items such that what a session holds points to what comes next.

A session is the weighted mean of the vectors of its last items, at length 1, the weights learned by
place and by how many there are; how likely an item is next is a softmax of `sharpness` times its
cosine with the session, plus a number of its own. One table serves both roles of an item, as in CORE
(Hou, Hu, Zhang, Zhao, SIGIR 2022), with lengths of 1 as in NISER (Gupta et al., 2019). Each block of
events is learned against what came in the others and sampled live items, shared by all (Hidasi and
Karatzoglou, CIKM 2018), so that a block is a few matrix products; what is likelier to be among them
counts less by that (logQ correction: Bengio and Senecal, IEEE Trans. Neural Networks 2008). A new
item begins between chance and the session that it is first seen in. Nothing is kept of a shopper: who
is new has a session from the first click on.

`benchmarks/factors.py` and `make quality` measure what the constants below do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csc_array

from operators.models.distinct_rows import Different
from operators.models.negative_sampler import LiveItems
from operators.models.position_weights import Places
from operators.models.rng_state import rng_array, rng_from
from operators.models.sgd import step, turn, unit
from operators.tables.growable import Growing
from operators.tables.table import Kept, Table
from state.dirty_rows import Marks
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Rows, Times, Weights

BLOCK = 512
"""Events learned at once. The caller's batches may have any length."""
WORTH_MIN = np.float32(-60.0)
"""The least that a row is worth in a block, as a logarithm: what can be divided by."""
WEIGHED_EVENTS = 65_536
"""Events that the mean weight reaches back over."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How to learn. Rates are first steps: of a vector of length 1, and of logarithms of chances."""

    n_factors: int = 64
    sharpness: float = 9.0
    rate: float = 0.6
    bias_rate: float = 0.05
    place_rate: float = 0.1
    sampled: int = 512
    sampled_power: float = 0.5
    context_max: int = 5
    half_life_days: float = 30.0


class ImplicitFactors(Kept):
    """Vectors of items on integer rows, learned from blocks of events.

    vectors float32[n, f] of length 1, bias float32[n]: of each item
    """

    def __init__(self, settings: Settings, seed: int) -> None:
        self.settings = settings
        self.live = LiveItems(
            half_life_ms=settings.half_life_days * DAY_MS, power=settings.sampled_power
        )
        self._rng = np.random.default_rng(seed)
        self._weighed = np.zeros(2)
        self._vectors: Growing[np.float32] = Growing((settings.n_factors,), np.float32)
        self._squares: Growing[np.float32] = Growing((), np.float32)
        self._bias: Growing[np.float32] = Growing((), np.float32)
        self._bias_squares: Growing[np.float32] = Growing((), np.float32)
        self._different = Different()
        self._marks = Marks()
        self.places = Places(settings.context_max, settings.place_rate)

    @property
    def vectors(self) -> Weights:
        """Item vectors, float32[n, f]; a view."""
        return self._vectors.rows

    def learn(self, items: Rows, weights: Weights, at_ms: Times, context: Rows) -> None:
        """Learn n events in their order; shapes as in `state.interactions.Interactions`."""
        for start in range(0, len(items), BLOCK):
            part = slice(start, start + BLOCK)
            self._learn_block(items[part], weights[part], at_ms[part], context[part])

    def _learn_block(self, items: Rows, weights: Weights, at_ms: Times, context: Rows) -> None:
        settings = self.settings
        self._grow(int(items.max()) + 1)
        self.live.count(items, at_ms)
        weights = self._relative(weights)
        share, near = self._shares(context)
        told = share.any(axis=1)
        if not told.any():
            return
        items, weights, share, near = items[told], weights[told], share[told], near[told]

        self._begin(items, share, near)
        drawn = self.live.sample(self._rng, settings.sampled)
        held = np.concatenate([items, drawn])
        there = share > 0
        n_near = there.sum(axis=1)
        rows, at, n_held = self._different.of(held, near[there])
        vectors, around = self.vectors.take(rows, axis=0), self.vectors.take(near, axis=0)
        session, length = unit(np.matmul(share[:, None], around)[:, 0])

        # How much each row is worth whatever the session, by bias and by how seldom it is held.
        against = vectors[:n_held]
        worth = self._bias.rows[rows[:n_held]] - np.log(
            self.live.chances(rows[:n_held], len(drawn), len(items))
        )
        worth = np.exp(np.maximum(worth - worth.max(), WORTH_MIN))
        sharpness = np.float32(settings.sharpness)
        wrong = (session * sharpness) @ against.T
        np.exp(wrong, out=wrong)
        # What was thought of each, less what came: the gradient of the logarithmic loss, up to a
        # number for each event and each row, which are cheaper to bring in where there are fewer.
        total: Weights = np.matmul(wrong, worth)
        came = at[: len(items)]
        wrong[np.arange(len(items)), came] -= total / worth[came]
        much = weights / total
        by_bias: Weights = np.matmul(much, wrong) * worth
        much *= sharpness

        pull: Weights = np.matmul(wrong, against * worth[:, None])
        pull *= much[:, None]
        pull -= session * np.vecdot(pull, session)[:, None]
        pull /= length
        of_near = (share[there], at[len(held) :], np.append(0, n_near.cumsum()))
        gradient: Weights = csc_array(of_near, (len(rows), len(items))) @ pull
        by_row: Weights = np.matmul(wrong.T, session * much[:, None])
        by_row *= worth[:, None]
        gradient[:n_held] += by_row
        self.places.learn(share, np.matmul(around, pull[:, :, None])[:, :, 0], n_near)
        turn(self.vectors, self._squares.rows, rows, vectors, gradient, settings.rate)
        step(self._bias.rows, self._bias_squares.rows, rows[:n_held], by_bias, settings.bias_rate)
        self._marks.mark(rows)

    def _begin(self, items: Rows, share: Weights, near: Rows) -> None:
        """Items that were never learned come nearer to the sessions that they are first seen in."""
        new = np.flatnonzero(self._squares.rows[items] == 0)
        if len(new):
            session = unit(np.einsum("nr,nrf->nf", share[new], self.vectors[near[new]]))[0]
            self.vectors[items[new]] = unit(self.vectors[items[new]] + session)[0]

    def _relative(self, weights: Weights) -> Weights:
        """Weights over their mean lately: where all is bought, a purchase is nothing special."""
        n = len(weights)
        self._weighed *= (1 - 1 / WEIGHED_EVENTS) ** n
        self._weighed += weights.sum(dtype=np.float64), n
        total, events = self._weighed
        return (weights * (events / total if total > 0 else 1.0)).astype(np.float32)

    def _grow(self, n_items: int) -> None:
        new = n_items - len(self._vectors)
        if new <= 0:
            return
        self._vectors.append(self._drawn(new))
        for column in (self._squares, self._bias, self._bias_squares):
            column.append(np.zeros(new, np.float32))
        self._different.grow(n_items)
        self.live.grow(n_items)
        self._marks.reach(n_items)

    def _drawn(self, n: int) -> Weights:
        size = (n, self.settings.n_factors)
        return unit(self._rng.standard_normal(size, dtype=np.float32))[0]

    def forget_items(self, rows: Rows) -> None:
        """These items were never learned: they have new vectors to start from."""
        rows = rows[rows < len(self.vectors)]
        if not len(rows):
            return
        self.vectors[rows] = self._drawn(len(rows))
        for column in (self._squares, self._bias, self._bias_squares):
            column.rows[rows] = 0
        self._marks.mark(rows)
        self.live.forget(rows)

    def _shares(self, context: Rows) -> tuple[Weights, Rows]:
        """How much each known context item counts, float32[n, r], and its row or 0, int32[n, r]."""
        context = context[:, : self.settings.context_max]
        known = self.known(context)
        return self.places.shares(known), np.where(known, context, 0)

    def known(self, items: Rows) -> NDArray[np.bool_]:
        """Which of these item rows were ever learned; any shape, any rows."""
        if not len(self.vectors):
            return np.zeros(items.shape, np.bool_)
        known: NDArray[np.bool_] = self.live.popularity.take(items, mode="clip") > 0
        known &= (items >= 0) & (items < len(self.vectors))
        return known

    def sessions(self, context: Rows) -> tuple[Weights, Weights, Rows]:
        """Sessions float32[n, f], the shares of their items float32[n, r] and their rows int32[n, r].

        All zero for one that holds nothing known; rows may lie beyond what was learned.
        """
        share, near = self._shares(context)
        if not len(self.vectors):
            return np.zeros((len(context), self.settings.n_factors), np.float32), share, near
        around = self.vectors.take(near, axis=0)
        return unit(np.matmul(share[:, None], around)[:, 0])[0], share, near

    def said(self, sessions: Weights, items: Rows) -> Weights:
        """Logarithms of how likely known items[n, c] are next in sessions[n, f], up to a constant."""
        vectors = self.vectors.take(items, axis=0)
        said: Weights = np.matmul(vectors, sessions[:, :, None])[:, :, 0]
        said *= np.float32(self.settings.sharpness)
        said += self._bias.rows.take(items)
        return said

    def tables(self) -> Sequence[Table]:
        """What is learned of items, and which of them live."""
        items: Arrays = {
            "vectors": self.vectors,
            "squares": self._squares.rows,
            "bias": self._bias.rows,
            "bias_squares": self._bias_squares.rows,
        }
        return [Table(items, self._marks), *self.live.tables()]

    def small(self) -> Arrays:
        """Chance, the clock and what places count."""
        return {
            "rng": rng_array(self._rng),
            "weighed": self._weighed.copy(),
            **self.places.small(),
            **self.live.small(),
        }

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave, of a model with the same settings.

        Of the vectors that releases before sessions had learned, which were of another kind, nothing.
        """
        if "vectors" not in arrays:
            return
        n_factors = arrays["vectors"].shape[1]
        if n_factors != self.settings.n_factors:
            raise ValueError(
                f"the snapshot holds {n_factors} factors, the settings ask for "
                f"{self.settings.n_factors}: start the learner with the settings it was saved with"
            )
        for column, name in (
            (self._vectors, "vectors"),
            (self._squares, "squares"),
            (self._bias, "bias"),
            (self._bias_squares, "bias_squares"),
        ):
            column.replace(arrays[name])
        self._different.grow(len(self.vectors))
        self._rng = rng_from(arrays["rng"])
        self._weighed = arrays["weighed"].astype(np.float64)
        self.places.restore(arrays)
        self.live.restore(arrays)
        self._marks = Marks(len(self.vectors))
