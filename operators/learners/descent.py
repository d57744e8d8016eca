"""Many steps at once into few rows: how a block of events moves numbers and vectors.

Steps are those of Adagrad (Duchi, Hazan, Singer, "Adaptive subgradient methods", JMLR 2011), whose
memory fades, so that a shop that changes is still followed after years.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.interactions import Rows

    Floats = NDArray[np.float32]

KEPT = np.float32(0.9995)
"""What is left of a row's past gradients at each of its steps: about the last 2,000 count."""
STEADY = np.float32(0.01)
"""Past gradients that a row begins with, so that a first small one is no large step."""
TINY = np.float32(1e-6)


def summed(rows: Rows, steps: Floats) -> tuple[Rows, Floats]:
    """The different rows, ascending, and the sum of the steps[m, f] of each.

    >>> rows, sums = summed(np.array([4, 1, 4]), np.ones((3, 1), np.float32))
    >>> rows.tolist(), sums.tolist()
    ([1, 4], [[1.0], [2.0]])
    """
    order = rows.argsort(kind="stable")
    ordered = rows[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    # Sums of rows as a sparse product: half the time of `np.add.at` over flat indices.
    ones = np.ones(len(rows), np.float32)
    which = csr_array((ones, order, np.append(first, len(rows))), (len(first), len(rows)))
    return ordered[first], which @ steps


def step(values: Floats, squares: Floats, rows: Rows, gradient: Floats, rate: float) -> None:
    """Move numbers values[rows], of any shape, down their gradient, in place; each row comes once."""
    squares[rows] = squares[rows] * KEPT + gradient * gradient
    values[rows] -= np.float32(rate) * gradient / np.sqrt(squares[rows] + STEADY)


def turn(vectors: Floats, squares: Floats, rows: Rows, gradient: Floats, rate: float) -> None:
    """Turn vectors[rows], of length 1, down their gradient[m, f], in place; each row comes once.

    >>> v, s = np.array([[1, 0]], np.float32), np.zeros(1, np.float32)
    >>> turn(v, s, np.array([0]), np.array([[5, -5]], np.float32), 1.0); (v > 0.7).tolist()
    [[True, True]]
    """
    moved = vectors[rows]
    across = gradient - moved * np.einsum("nf,nf->n", gradient, moved)[:, None]
    squares[rows] = squares[rows] * KEPT + np.einsum("nf,nf->n", across, across)
    across *= (np.float32(rate) / np.sqrt(squares[rows] + STEADY))[:, None]
    vectors[rows] = unit(moved - across)[0]


def unit(vectors: Floats) -> tuple[Floats, Floats]:
    """The vectors at length 1, float32[n, f], and the lengths they had, float32[n, 1]; 0 stays 0."""
    length = np.sqrt(np.einsum("nf,nf->n", vectors, vectors))[:, None] + TINY
    return vectors / length, length
