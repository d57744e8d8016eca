"""Session factors: one block moves vectors, biases and position weights down a gradient that is
computed here the slow way, from the loss itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.special import logsumexp

from operators.kernels.training.factor_steps import SQUARES_DECAY, SQUARES_INITIAL
from operators.models.rng_state import load_rng
from operators.models.session_factors import SessionFactors, SessionFactorsConfig

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from state.arrays import Rows, Times, Weights

    Floats = NDArray[np.float64]
    Block = tuple[Rows, Weights, Times, Rows]

CONFIG = SessionFactorsConfig(
    n_factors=4, inverse_temperature=3.0, negatives=6, context_max=3, rate=0.3
)
ITEMS = 9


def events(n: int, seed: int) -> Block:
    rng = np.random.default_rng(seed)
    items = rng.integers(0, ITEMS, n).astype(np.int32)
    context = rng.integers(0, ITEMS, (n, 3)).astype(np.int32)
    context[rng.random(n) < 0.5, 2] = -1
    return items, np.ones(n, np.float32), np.arange(n), context


def gradient(loss: Callable[[Floats], float], at: Floats) -> Floats:
    """Central differences."""
    result = np.zeros_like(at)
    for index in np.ndindex(at.shape):
        for sign in (1, -1):
            moved = at.copy()
            moved[index] += sign * 1e-5
            result[index] += sign * loss(moved) / 2e-5
    return result


def loss_of(
    model: SessionFactors,
    before: dict[str, NDArray[np.generic]],
    block: Block,
) -> Callable[[Floats, Floats, Floats], float]:
    """The log loss of a block, as a function of vectors, biases and log weights of positions."""
    items, _, _, context = block
    sampler = model.negative_sampler
    negatives = sampler.sample(load_rng(before["rng"]), CONFIG.negatives)
    targets = np.unique(np.concatenate([items, negatives]))
    log_q = np.log(sampler.probabilities(targets, len(negatives), len(items)).astype(np.float64))

    def loss(vectors: Floats, bias: Floats, log_weights: Floats) -> float:
        total = 0.0
        for item, session_items in zip(items, context, strict=True):
            known = session_items[session_items >= 0]
            weights = np.exp(log_weights[len(known) - 1, : len(known)])
            session = weights / weights.sum() @ vectors[known]
            session = session / np.linalg.norm(session)
            logits = CONFIG.inverse_temperature * vectors[targets] @ session + bias[targets] - log_q
            total += logsumexp(logits) - logits[targets == item][0]
        return total

    return loss


def adagrad(value: Floats, squares: Floats, slope: Floats, rate: float) -> Floats:
    moment = squares * float(SQUARES_DECAY) + slope * slope
    return value - rate * slope / np.sqrt(moment + float(SQUARES_INITIAL))


def test_a_block_moves_everything_down_the_gradient_of_the_log_loss() -> None:
    model = SessionFactors(CONFIG, seed=1)
    model.learn(*events(60, seed=2))
    before = {name: array.copy() for name, array in model.arrays().items()}
    block = events(7, seed=3)
    model.learn(*block)
    after = model.arrays()

    loss = loss_of(model, before, block)
    vectors, bias, places = (
        before[name].astype(np.float64) for name in ("vectors", "bias", "places")
    )
    by_vectors = gradient(lambda at: loss(at, bias, places), vectors)
    by_bias = gradient(lambda at: loss(vectors, at, places), bias)
    by_places = gradient(lambda at: loss(vectors, bias, at), places)

    np.testing.assert_allclose(
        after["bias"], adagrad(bias, before["bias_squares"], by_bias, CONFIG.bias_rate), atol=1e-4
    )
    across = by_vectors - (by_vectors * vectors).sum(axis=1, keepdims=True) * vectors
    moment = before["squares"] * float(SQUARES_DECAY) + (across**2).sum(axis=1)
    moved = vectors - (CONFIG.rate / np.sqrt(moment + float(SQUARES_INITIAL)))[:, None] * across
    moved /= np.linalg.norm(moved, axis=1, keepdims=True)
    np.testing.assert_allclose(after["vectors"], moved, atol=1e-3)
    expected = adagrad(places, before["place_squares"], by_places, CONFIG.position_rate)
    np.testing.assert_allclose(after["places"], expected, atol=1e-3)
