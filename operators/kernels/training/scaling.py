"""The kernel of `operators.models.scaling`: running mean and deviation of columns, merged by batch.

Plain reference: `tests/reference/scaling.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare, kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

ROUNDING = 1e-12
"""A deviation below this share of the mean is the rounding of a constant, not a deviation."""


@inlined_bare
def update_std(weight: float, mean: Floats, squares: Floats, std: Floats, inverse: Floats) -> None:
    """Write the deviation of each column and its inverse, both 0 for a constant column."""
    for column in range(len(mean)):
        deviation = np.sqrt(squares[column] / max(weight, 1.0))
        if deviation <= ROUNDING * abs(mean[column]):
            deviation = 0.0
        std[column] = deviation
        inverse[column] = 1.0 / deviation if deviation > 0.0 else 0.0


@inlined_bare
def merge_rows(
    rows: Floats,
    start: int,
    end: int,
    half_life: float,
    weight: float,
    mean: Floats,
    squares: Floats,
    sums: Floats,
) -> float:
    """Merge rows from `start` to before `end`; returns the weight after it. `sums` is scratch [2, F].

    Of rows that old half counts after `half_life`; 0 never forgets.
    """
    n_columns = len(mean)
    sums[:] = 0.0
    added = 0.0
    for row in range(start, end):
        own = np.exp2((row + 1 - end) / half_life) if half_life > 0.0 else 1.0
        added += own
        # Measured from the first row, so that a constant column has no rounding at all.
        for column in range(n_columns):
            sums[0, column] += own * (rows[row, column] - rows[start, column])
    for column in range(n_columns):
        sums[0, column] /= added
    for row in range(start, end):
        own = np.exp2((row + 1 - end) / half_life) if half_life > 0.0 else 1.0
        for column in range(n_columns):
            centred = rows[row, column] - rows[start, column] - sums[0, column]
            sums[1, column] += own * centred * centred
    decay = 0.5 ** ((end - start) / half_life) if half_life > 0.0 else 1.0
    weight *= decay
    total = weight + added
    for column in range(n_columns):
        shift = rows[start, column] + sums[0, column] - mean[column]
        mean[column] += shift * (added / total)
        squares[column] = squares[column] * decay + sums[1, column]
        squares[column] += shift * shift * (weight * added / total)
    return total


@kernel(
    "void(float64, float64[::1], float64[::1], float64[::1], float64[::1])",
    allocates=False,
)
def write_std(weight: float, mean: Floats, squares: Floats, std: Floats, inverse: Floats) -> None:
    """Write the deviation of each column and its inverse, both 0 for a constant column."""
    update_std(weight, mean, squares, std, inverse)


@kernel(
    "float64(float64[:, ::1], float64, float64, float64[::1], float64[::1], float64[::1],"
    "float64[::1], float64[:, ::1])",
    allocates=False,
)
def learn_rows(
    rows: Floats,
    half_life: float,
    weight: float,
    mean: Floats,
    squares: Floats,
    std: Floats,
    inverse: Floats,
    sums: Floats,
) -> float:
    """Merge rows, oldest first, at least one; returns the weight after it. `sums` is scratch [2, F]."""
    total = merge_rows(rows, 0, len(rows), half_life, weight, mean, squares, sums)
    update_std(total, mean, squares, std, inverse)
    return total
