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
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.kernels.training.factors import (
    close_block,
    find_rows,
    open_block,
    weigh_errors,
)
from operators.models.negative_sampler import NegativeSampler
from operators.models.position_weights import PositionWeights
from operators.models.rng_state import dump_rng, load_rng
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
NORM_MIN = np.float32(1e-6)
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


class _Block(NamedTuple):
    """Events of a block: item [n], items of the session [n, r] and their weights, how many these are;
    the indexes of those that have a session; the rows that they read, targets first."""

    items: Rows
    context: Rows
    weights: Weights
    lengths: Rows
    events: Rows
    rows: Rows


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
        # Where a row is in the block that is learned: scratch, it holds no state.
        self._index_of_row: Rows = np.empty(0, np.int32)
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
        settings, sampler = self.settings, self.negative_sampler
        self._ensure_rows(int(items.max()) + 1)
        sampler.observe(items, at_ms)
        event_weights = self._relative_weights(weights)
        negatives = sampler.sample(self._rng, settings.negatives)
        n, width = len(items), min(context.shape[1], settings.context_max)
        context_weights = np.empty((n, width), np.float32)
        lengths, events = np.empty((2, n), np.int32)
        rows = np.empty(n * (1 + width) + len(negatives), np.int32)
        context = np.ascontiguousarray(context)
        n_events, n_targets, n_rows = find_rows(
            items,
            context,
            negatives,
            sampler.popularity,
            self.position_weights.relative_weights(),
            self._index_of_row,
            context_weights,
            lengths,
            events,
            rows,
        )
        if not n_events:
            return
        rows = rows[:n_rows]
        prepared = _Block(items, context, context_weights, lengths, events[:n_events], rows)
        probabilities = sampler.probabilities(rows[:n_targets], len(negatives), n_events)
        self._descend(prepared, event_weights, probabilities)
        self._dirty_rows.mark(rows)
        self.changed_rows.mark(rows)

    def _descend(self, block: _Block, event_weights: Weights, probabilities: Weights) -> None:
        """Take the steps of a block: kernels, and between them products of matrices."""
        settings, n_factors = self.settings, self.settings.n_factors
        events, rows, n_targets = block.events, block.rows, len(probabilities)
        temperature = np.float32(settings.inverse_temperature)
        current = np.empty((len(rows), n_factors), np.float32)
        sessions = np.empty((len(events), n_factors), np.float32)
        norms, prior = np.empty(len(events), np.float32), np.empty(n_targets, np.float32)
        weighed = np.empty((n_targets, n_factors), np.float32)
        open_block(
            events, block.items, block.context, block.weights, rows, probabilities, self.vectors,
            self._squares.rows, self._bias.rows, temperature, current, sessions,
            norms, prior, weighed,
        )  # fmt: skip
        errors: Weights = sessions @ current[:n_targets].T
        bias_gradient = np.zeros(n_targets, np.float32)
        weigh_errors(
            events, block.items, event_weights, self._index_of_row, prior,
            temperature, errors, bias_gradient,
        )  # fmt: skip
        gradient = np.zeros((len(rows), n_factors), np.float32)
        np.matmul(errors.T, sessions, out=gradient[:n_targets])
        by_session: Weights = errors @ weighed
        positions = self.position_weights
        close_block(
            events, block.context, block.weights, block.lengths, self._index_of_row, rows, current,
            sessions, norms, prior, by_session, gradient, bias_gradient, self.vectors,
            self._squares.rows, self._bias.rows, self._bias_squares.rows, positions.log_weights,
            positions.squares, temperature, np.float32(settings.rate),
            np.float32(settings.bias_rate), np.float32(settings.position_rate),
        )  # fmt: skip

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
        self._ensure_scratch()
        self.negative_sampler.ensure_rows(n_items)
        self._dirty_rows.ensure_rows(n_items)
        self.changed_rows.mark(np.arange(n_items - new, n_items))

    def _ensure_scratch(self) -> None:
        if len(self._index_of_row) < len(self.vectors):
            self._index_of_row = np.empty(2 * len(self.vectors), np.int32)

    def _draw_vectors(self, n: int) -> Weights:
        size = (n, self.settings.n_factors)
        return _normalize(self._rng.standard_normal(size, dtype=np.float32))

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
        sessions = _normalize(np.matmul(context_weights[:, None], context_vectors)[:, 0])
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
        self._ensure_scratch()
        self._rng = load_rng(arrays["rng"])
        self._weight_totals = arrays["weighed"].astype(np.float64)
        self.position_weights.restore(arrays)
        self.negative_sampler.restore(arrays)
        self._dirty_rows = DirtyRows(len(self.vectors))


def _normalize(vectors: Weights) -> Weights:
    """The vectors [n, f] at length 1; 0 stays 0."""
    normalized: Weights = vectors / (np.sqrt(np.vecdot(vectors, vectors))[:, None] + NORM_MIN)
    return normalized
