"""What `operators.kernels.training.factors` computes, with whole arrays: gradients and steps of a block.

`tests/operators/models/test_session_factors.py` compares them with differences of the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.models.session_factors import SessionFactorsConfig
    from state.arrays import Rows, Weights


class Gradients(NamedTuple):
    """Of the loss: by the raw session float32[n, f], by the targets float32[m, f], by their biases [m].

    The raw session is the weighted mean of its items, before it is scaled to length 1.
    """

    session: Weights
    target: Weights
    bias: Weights


def log_loss_gradients(
    session: Weights,
    session_norm: Weights,
    targets: Weights,
    prior: Weights,
    positives: NDArray[np.integer],
    weights: Weights,
    inverse_temperature: np.float32,
) -> Gradients:
    """The gradients of the weighted log loss of n events against m target rows.

    session[n, f]         sessions of length 1
    session_norm[n, 1]    their lengths before
    targets[m, f]         vectors
    prior[m]              how likely each target is whatever the session
    positives[n]          index of the target that each event chose
    weights[n]            how much each event counts

    The probability of a target is its prior times the exponential of `inverse_temperature` times its
    cosine with the session, over the sum of all.
    """
    errors = (session * inverse_temperature) @ targets.T
    np.exp(errors, out=errors)
    # Predicted less actual, up to a factor for each event (`scale`) and each target (`prior`). They are
    # applied to the products, where there are fewer numbers.
    total: Weights = np.matmul(errors, prior)
    errors[np.arange(len(positives)), positives] -= total / prior[positives]
    scale = weights / total
    bias_gradient: Weights = np.matmul(scale, errors) * prior
    scale *= inverse_temperature

    session_gradient: Weights = np.matmul(errors, targets * prior[:, None])
    session_gradient *= scale[:, None]
    session_gradient -= session * np.vecdot(session_gradient, session)[:, None]
    session_gradient /= session_norm
    target_gradient: Weights = np.matmul(errors.T, session * scale[:, None])
    target_gradient *= prior[:, None]
    return Gradients(session_gradient, target_gradient, bias_gradient)


SQUARES_DECAY, SQUARES_INITIAL = np.float32(0.9995), np.float32(0.01)
NORM_MIN = np.float32(1e-6)


def normalize(vectors: Weights) -> tuple[Weights, Weights]:
    """The vectors at length 1, float32[n, f], and the lengths they had, float32[n, 1]; 0 stays 0."""
    norm = np.sqrt(np.vecdot(vectors, vectors))[:, None] + NORM_MIN
    return vectors / norm, norm


def adagrad_step(
    values: Weights, squares: Weights, rows: Rows, gradient: Weights, rate: float
) -> None:
    """Move numbers values[rows], of any shape, down their gradient, in place. Rows are distinct."""
    moment = squares[rows] * SQUARES_DECAY + gradient * gradient
    squares[rows] = moment
    values[rows] -= np.float32(rate) * gradient / np.sqrt(moment + SQUARES_INITIAL)


def rotate_step(
    vectors: Weights, squares: Weights, rows: Rows, gradient: Weights, rate: float
) -> None:
    """Rotate vectors[rows], of length 1, down their gradient[m, f], in place. Rows are distinct."""
    # Only the part of the gradient across a vector rotates it.
    current = vectors[rows]
    along = np.vecdot(gradient, current)
    across = np.maximum(np.vecdot(gradient, gradient) - along * along, 0)
    moment = squares[rows] * SQUARES_DECAY + across
    squares[rows] = moment
    step_size = (np.float32(rate) / np.sqrt(moment + SQUARES_INITIAL))[:, None]
    vectors[rows] = normalize(current * (1 + step_size * along[:, None]) - step_size * gradient)[0]


class Block(NamedTuple):
    """Events that have a session: item [n], weight [n], items of the session [n, r] and their weights.

    `probabilities` are those of the targets, which are the distinct items and samples, ascending.
    """

    items: Rows
    weights: Weights
    context: Rows
    context_weights: Weights
    targets: Rows
    probabilities: Weights


def learn_block(arrays: dict[str, Weights], block: Block, config: SessionFactorsConfig) -> None:
    """Learn a block into the arrays of a model, in place."""
    vectors, squares, bias = arrays["vectors"], arrays["squares"], arrays["bias"]
    held = block.context_weights > 0
    context = np.where(held, block.context, 0)
    new = squares[block.items] == 0
    started = block.items[new]
    first = np.einsum("nr,nrf->nf", block.context_weights[new], vectors[context[new]])
    vectors[started] = normalize(vectors[started] + normalize(first)[0])[0]
    session, norm = normalize(np.einsum("nr,nrf->nf", block.context_weights, vectors[context]))
    log_prior = bias[block.targets] - np.log(block.probabilities)
    prior = np.exp(np.maximum(log_prior - log_prior.max(), np.float32(-60)))
    gradients = log_loss_gradients(
        session,
        norm,
        vectors[block.targets],
        prior,
        np.searchsorted(block.targets, block.items),
        block.weights,
        np.float32(config.inverse_temperature),
    )
    gradient = np.zeros_like(vectors)
    gradient[block.targets] += gradients.target
    np.add.at(gradient, context, block.context_weights[:, :, None] * gradients.session[:, None, :])
    rows = np.union1d(block.targets, context[held])
    slopes = np.einsum("nrf,nf->nr", vectors[context], gradients.session)
    lengths = held.sum(axis=1)
    width = context.shape[1]
    for length in np.unique(lengths).tolist():
        own = lengths == length
        places = (block.context_weights[own] * slopes[own]).sum(axis=0)[None]
        adagrad_step(
            arrays["places"][:, :width],
            arrays["place_squares"][:, :width],
            np.array([length - 1], np.int32),
            places,
            config.position_rate,
        )
    rotate_step(vectors, squares, rows, gradient[rows], config.rate)
    adagrad_step(bias, arrays["bias_squares"], block.targets, gradients.bias, config.bias_rate)
