"""The gradients of the log loss of a block of events, which `session_factors` descends.

A pure function of arrays. Change together with `tests/operators/models/test_session_factors.py`, which
compares it with differences of the loss.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Weights


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
