"""Implicit feedback: vectors of items, learned so that a session points to the item that comes next.

A session is the weighted mean of the vectors of its last items, at length 1; the weights are learned by
position and by the number of items. The probability of an item to be next is a softmax of
`inverse_temperature` times its cosine with the session, plus a bias of the item. One table serves both
roles of an item, as in CORE (Hou, Hu, Zhang, Zhao, SIGIR 2022), with vectors of length 1 as in NISER
(Gupta et al., 2019). Each block of events is learned against the items of its other events and sampled
live items, shared by all events (Hidasi and Karatzoglou, CIKM 2018), so that a block is a few matrix
products. An item that is more likely to be among these counts less by that (logQ correction: Bengio and
Senecal, IEEE Trans. Neural Networks 2008). A new item starts between a random vector and the session in
which it is first seen. Nothing is kept of a shopper: a new shopper has a session from the first click.

No River or scikit-learn estimator learns this, so tests compare the gradient with a naive calculation.
`benchmarks/factors.py` and `make quality` measure the constants below. The array names are stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csc_array

from operators.models.distinct_rows import DistinctRows
from operators.models.negative_sampler import NegativeSampler
from operators.models.position_weights import PositionWeights
from operators.models.rng_state import dump_rng, load_rng
from operators.models.session_gradients import log_loss_gradients
from operators.models.sgd import adagrad_step, normalize, rotate_step
from operators.tables.growable import GrowableArray
from operators.tables.replication import ChangedRows, Replicated
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Times, Weights

BLOCK_EVENTS = 512
"""Events learned at once. The caller's batches may have any length."""
LOG_PRIOR_MIN = np.float32(-60.0)
"""The smallest log prior of a row in a block: division by its exponential is still possible."""
MEAN_WEIGHT_EVENTS = 65_536
"""Events that the mean weight reaches back over."""


@dataclass(frozen=True, slots=True)
class SessionFactorsConfig:
    """How to learn. Rates are first steps: of a vector of length 1, and of log probabilities."""

    n_factors: int = 64
    inverse_temperature: float = 9.0
    rate: float = 0.6
    bias_rate: float = 0.05
    position_rate: float = 0.1
    negatives: int = 512
    negatives_power: float = 0.5
    context_max: int = 5
    half_life_days: float = 30.0


class SessionFactors(TableState):
    """Vectors and biases of items on integer rows, learned from blocks of events.

    vectors float32[n, f] of length 1, bias float32[n]
    """

    def __init__(self, settings: SessionFactorsConfig, seed: int) -> None:
        self.settings = settings
        self.negative_sampler = NegativeSampler(
            half_life_ms=settings.half_life_days * DAY_MS, power=settings.negatives_power
        )
        self._rng = np.random.default_rng(seed)
        self._weight_totals = np.zeros(2)
        self._vectors: GrowableArray[np.float32] = GrowableArray((settings.n_factors,), np.float32)
        self._squares: GrowableArray[np.float32] = GrowableArray((), np.float32)
        self._bias: GrowableArray[np.float32] = GrowableArray((), np.float32)
        self._bias_squares: GrowableArray[np.float32] = GrowableArray((), np.float32)
        self._distinct_rows = DistinctRows()
        self.changed_rows = ChangedRows()
        self._dirty_rows = DirtyRows()
        self.position_weights = PositionWeights(settings.context_max, settings.position_rate)

    @property
    def vectors(self) -> Weights:
        """Item vectors, float32[n, f]; a view."""
        return self._vectors.rows

    def learn(self, items: Rows, weights: Weights, at_ms: Times, context: Rows) -> None:
        """Learn n events in their order; shapes as in `state.interactions.Interactions`."""
        for start in range(0, len(items), BLOCK_EVENTS):
            part = slice(start, start + BLOCK_EVENTS)
            self._learn_block(items[part], weights[part], at_ms[part], context[part])

    def _learn_block(self, items: Rows, weights: Weights, at_ms: Times, context: Rows) -> None:
        settings = self.settings
        self._ensure_rows(int(items.max()) + 1)
        self.negative_sampler.observe(items, at_ms)
        weights = self._relative_weights(weights)
        context_weights, context_rows = self._weigh_context(context)
        has_context = context_weights.any(axis=1)
        if not has_context.any():
            return
        items, weights = items[has_context], weights[has_context]
        context_weights, context_rows = context_weights[has_context], context_rows[has_context]

        self._start_new_items(items, context_weights, context_rows)
        negatives = self.negative_sampler.sample(self._rng, settings.negatives)
        targets = np.concatenate([items, negatives])
        in_context = context_weights > 0
        context_lengths = in_context.sum(axis=1)
        rows, indices, target_count = self._distinct_rows.factorize(
            targets, context_rows[in_context]
        )
        vectors = self.vectors.take(rows, axis=0)
        context_vectors = self.vectors.take(context_rows, axis=0)
        session, session_norm = normalize(
            np.matmul(context_weights[:, None], context_vectors)[:, 0]
        )

        target_rows = rows[:target_count]
        gradients = log_loss_gradients(
            session,
            session_norm,
            vectors[:target_count],
            self._prior(target_rows, len(negatives), len(items)),
            indices[: len(items)],
            weights,
            np.float32(settings.inverse_temperature),
        )
        entries = (context_weights[in_context], indices[len(targets) :])
        context_matrix = (*entries, np.append(0, context_lengths.cumsum()))
        gradient: Weights = csc_array(context_matrix, (len(rows), len(items))) @ gradients.session
        gradient[:target_count] += gradients.target
        slopes = np.matmul(context_vectors, gradients.session[:, :, None])[:, :, 0]
        self.position_weights.learn(context_weights, slopes, context_lengths)
        rotate_step(self.vectors, self._squares.rows, rows, vectors, gradient, settings.rate)
        bias, squares = self._bias.rows, self._bias_squares.rows
        adagrad_step(bias, squares, target_rows, gradients.bias, settings.bias_rate)
        self._dirty_rows.mark(rows)
        self.changed_rows.mark(rows)

    def _prior(self, rows: Rows, negatives: int, events: int) -> Weights:
        """How likely each row is whatever the session: by its bias, and by how rarely it is a target."""
        probabilities = self.negative_sampler.probabilities(rows, negatives, events)
        log_prior = self._bias.rows[rows] - np.log(probabilities)
        prior: Weights = np.exp(np.maximum(log_prior - log_prior.max(), LOG_PRIOR_MIN))
        return prior

    def _start_new_items(self, items: Rows, context_weights: Weights, context_rows: Rows) -> None:
        """Move items that were never learned halfway to the sessions in which they are first seen."""
        new = np.flatnonzero(self._squares.rows[items] == 0)
        if len(new):
            context_vectors = self.vectors[context_rows[new]]
            session = normalize(np.einsum("nr,nrf->nf", context_weights[new], context_vectors))[0]
            self.vectors[items[new]] = normalize(self.vectors[items[new]] + session)[0]

    def _relative_weights(self, weights: Weights) -> Weights:
        """Weights over their recent mean: where all events are purchases, a purchase is ordinary."""
        n = len(weights)
        self._weight_totals *= (1 - 1 / MEAN_WEIGHT_EVENTS) ** n
        self._weight_totals += weights.sum(dtype=np.float64), n
        total, events = self._weight_totals
        return (weights * (events / total if total > 0 else 1.0)).astype(np.float32)

    def _ensure_rows(self, n_items: int) -> None:
        new = n_items - len(self._vectors)
        if new <= 0:
            return
        self._vectors.append(self._draw_vectors(new))
        for column in (self._squares, self._bias, self._bias_squares):
            column.append(np.zeros(new, np.float32))
        self._distinct_rows.ensure_rows(n_items)
        self.negative_sampler.ensure_rows(n_items)
        self._dirty_rows.ensure_rows(n_items)
        self.changed_rows.mark(np.arange(n_items - new, n_items))

    def _draw_vectors(self, n: int) -> Weights:
        size = (n, self.settings.n_factors)
        return normalize(self._rng.standard_normal(size, dtype=np.float32))[0]

    def remove_items(self, rows: Rows) -> None:
        """Forget these items: each gets a new random vector, as if it was never learned."""
        rows = rows[rows < len(self.vectors)]
        if not len(rows):
            return
        self.vectors[rows] = self._draw_vectors(len(rows))
        for column in (self._squares, self._bias, self._bias_squares):
            column.rows[rows] = 0
        self._dirty_rows.mark(rows)
        self.changed_rows.mark(rows)
        self.negative_sampler.remove_items(rows)

    def _weigh_context(self, context: Rows) -> tuple[Weights, Rows]:
        """The weight of each known context item, float32[n, r], and its row or 0, int32[n, r]."""
        context = context[:, : self.settings.context_max]
        known = self.is_known(context)
        return self.position_weights.weights(known), np.where(known, context, 0)

    def is_known(self, items: Rows) -> NDArray[np.bool_]:
        """Which of these item rows were ever learned; any shape, any rows."""
        if not len(self.vectors):
            return np.zeros(items.shape, np.bool_)
        known: NDArray[np.bool_] = self.negative_sampler.popularity.take(items, mode="clip") > 0
        known &= (items >= 0) & (items < len(self.vectors))
        return known

    def sessions(self, context: Rows) -> tuple[Weights, Weights, Rows]:
        """Sessions float32[n, f], the weights of their items float32[n, r] and their rows int32[n, r].

        All zero for a session without a known item; rows may lie beyond the table.
        """
        context_weights, context_rows = self._weigh_context(context)
        if not len(self.vectors):
            empty = np.zeros((len(context), self.settings.n_factors), np.float32)
            return empty, context_weights, context_rows
        context_vectors = self.vectors.take(context_rows, axis=0)
        sessions = normalize(np.matmul(context_weights[:, None], context_vectors)[:, 0])[0]
        return sessions, context_weights, context_rows

    def scores(self, sessions: Weights, items: Rows) -> Weights:
        """Log probabilities of known items[n, c] to be next in sessions[n, f], up to a constant."""
        vectors = self.vectors.take(items, axis=0)
        logits: Weights = np.matmul(vectors, sessions[:, :, None])[:, :, 0]
        logits *= np.float32(self.settings.inverse_temperature)
        logits += self._bias.rows.take(items)
        return logits

    def replicated_tables(self) -> Sequence[Replicated]:
        """What `sessions` and `scores` read: not what only learning needs."""
        return (self, self.negative_sampler)

    def replicated_columns(self) -> tuple[Weights, Weights]:
        """Vectors and biases."""
        return self.vectors, self._bias.rows

    def replicated_scalars(self) -> tuple[Weights]:
        """The weights of positions."""
        return (self.position_weights.log_weights.copy(),)

    def write_scalars(self, scalars: tuple[NDArray[Any], ...]) -> None:
        """Replace the weights of positions."""
        (self.position_weights.log_weights,) = scalars

    def ensure_rows(self, rows: int) -> None:
        """Extend a replica to at least so many rows; their vectors are sent."""
        new = max(0, rows - len(self.vectors))
        self._vectors.append(np.zeros((new, self.settings.n_factors), np.float32))
        self._bias.append(np.zeros(new, np.float32))

    def tables(self) -> Sequence[Table]:
        """What is learned of items, and their popularity."""
        items: Arrays = {
            "vectors": self.vectors,
            "squares": self._squares.rows,
            "bias": self._bias.rows,
            "bias_squares": self._bias_squares.rows,
        }
        return [Table(items, self._dirty_rows), *self.negative_sampler.tables()]

    def scalars(self) -> Arrays:
        """The random generator, the mean weight, the position weights, the clock."""
        return {
            "rng": dump_rng(self._rng),
            "weighed": self._weight_totals.copy(),
            **self.position_weights.scalars(),
            **self.negative_sampler.scalars(),
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave, of a model with the same settings.

        Vectors of the releases before session factors are of another kind: they are dropped.
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
        self._distinct_rows.ensure_rows(len(self.vectors))
        self._rng = load_rng(arrays["rng"])
        self._weight_totals = arrays["weighed"].astype(np.float64)
        self.position_weights.restore(arrays)
        self.negative_sampler.restore(arrays)
        self._dirty_rows = DirtyRows(len(self.vectors))
