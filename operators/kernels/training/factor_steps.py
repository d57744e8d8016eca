"""Products of vectors, and gradient steps of numbers and of vectors: what kernels of factors call.

The steps are those of Adagrad (Duchi, Hazan, Singer, "Adaptive subgradient methods", JMLR 2011) with a
memory that decays, so that the model still follows a shop that changes after years. Plain reference:
`tests/reference/session_factors.py`, which a test holds to River's `optim.AdaGrad`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare, inlined_sums
from operators.kernels.ranking.factors import NORM_MIN

if TYPE_CHECKING:
    from state.arrays import Weights

SQUARES_DECAY = np.float32(0.9995)
"""Factor on a row's past squared gradients at each of its steps: about the last 2,000 count."""
SQUARES_INITIAL = np.float32(0.01)
"""Squared gradients that a row starts with, so that a small first one does not make a large step."""
_ZERO, _ONE = np.float32(0), np.float32(1)


@inlined_sums
def inner(one: Weights, other: Weights) -> np.float32:
    """The product of two vectors."""
    total = _ZERO
    for column in range(len(one)):
        total += one[column] * other[column]
    return total


@inlined_sums
def add_scaled(target: Weights, vector: Weights, factor: np.float32) -> None:
    """Add a multiple of a vector to another."""
    for column in range(len(target)):
        target[column] += factor * vector[column]


@inlined_bare
def adagrad(
    values: Weights, squares: Weights, row: int, gradient: np.float32, rate: np.float32
) -> None:
    """Move a number down its gradient."""
    moment = squares[row] * SQUARES_DECAY + gradient * gradient
    squares[row] = moment
    values[row] -= rate * gradient / np.sqrt(moment + SQUARES_INITIAL)


@inlined_bare
def rotate(
    out: Weights,
    squares: Weights,
    row: int,
    current: Weights,
    gradient: Weights,
    rate: np.float32,
) -> None:
    """Write a vector of length 1, rotated down its gradient, which is overwritten."""
    # Only the part of the gradient across a vector rotates it.
    along = inner(gradient, current)
    across = max(inner(gradient, gradient) - along * along, _ZERO)
    moment = squares[row] * SQUARES_DECAY + across
    squares[row] = moment
    size = rate / np.sqrt(moment + SQUARES_INITIAL)
    for column in range(len(out)):
        gradient[column] = current[column] * (_ONE + size * along) - size * gradient[column]
    norm = np.sqrt(inner(gradient, gradient)) + NORM_MIN
    for column in range(len(out)):
        out[column] = gradient[column] / norm
