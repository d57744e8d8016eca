"""Many gradient steps at once into few rows: how a block of events moves numbers and vectors.

The steps are those of Adagrad (Duchi, Hazan, Singer, "Adaptive subgradient methods", JMLR 2011) with a
memory that decays, so that the model still follows a shop that changes after years. River's
`optim.AdaGrad` is the oracle while the decay is negligible; a test compares single steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows

    Floats = NDArray[np.float32]

SQUARES_DECAY = np.float32(0.9995)
"""Factor on a row's past squared gradients at each of its steps: about the last 2,000 count."""
SQUARES_INITIAL = np.float32(0.01)
"""Squared gradients that a row starts with, so that a small first one does not make a large step."""
NORM_MIN = np.float32(1e-6)


def adagrad_step(
    values: Floats, squares: Floats, rows: Rows, gradient: Floats, rate: float
) -> None:
    """Move numbers values[rows], of any shape, down their gradient, in place. Rows are distinct."""
    moment = squares[rows] * SQUARES_DECAY + gradient * gradient
    squares[rows] = moment
    values[rows] -= np.float32(rate) * gradient / np.sqrt(moment + SQUARES_INITIAL)


def rotate_step(
    vectors: Floats, squares: Floats, rows: Rows, current: Floats, gradient: Floats, rate: float
) -> None:
    """Rotate vectors[rows], of length 1, down their gradient[m, f], in place. Rows are distinct.

    current[m, f] is a copy of vectors[rows]. It is overwritten, and so is the gradient.

    >>> v, s = np.array([[1, 0]], np.float32), np.zeros(1, np.float32)
    >>> rotate_step(v, s, np.array([0]), v.copy(), np.array([[5, -5]], np.float32), 1.0)
    >>> (v > 0.7).tolist()
    [[True, True]]
    """
    # Only the part of the gradient across a vector rotates it.
    along = np.vecdot(gradient, current)
    across = np.maximum(np.vecdot(gradient, gradient) - along * along, 0)
    moment = squares[rows] * SQUARES_DECAY + across
    squares[rows] = moment
    step_size = np.float32(rate) / np.sqrt(moment + SQUARES_INITIAL)
    current *= (1 + step_size * along)[:, None]
    gradient *= step_size[:, None]
    current -= gradient
    current /= norms(current)
    vectors[rows] = current


def norms(vectors: Floats) -> Floats:
    """The lengths of vectors[n, f], float32[n, 1], at least a little above 0."""
    norm: Floats = np.sqrt(np.vecdot(vectors, vectors))[:, None] + NORM_MIN
    return norm


def normalize(vectors: Floats) -> tuple[Floats, Floats]:
    """The vectors at length 1, float32[n, f], and the lengths they had, float32[n, 1]; 0 stays 0."""
    norm = norms(vectors)
    return vectors / norm, norm
