"""Many steps at once into few rows: how a block of events changes a table, and what it may not do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.interactions import Rows

    Vectors = NDArray[np.float32]

STEPS_MAX = 16
"""Steps of one row that count in full in a block; more count as this many of their mean.

All steps of a block are reckoned from the same state, so many of one row overshoot: in a shop of
20 items summing them all learns nothing, while here shops of any size learn alike."""
NORM_MAX = 6.0
"""No vector gets longer, whatever a stream does (one item alone, a robot): twice the longest seen
on real shops, so it binds nowhere else."""


def descend(table: Vectors, rows: Rows, steps: Vectors) -> None:
    """Add steps[m, f] to table[rows], in place, where a row may come several times.

    >>> t = np.zeros((2, 1), np.float32)
    >>> descend(t, np.array([1, 1]), np.ones((2, 1), np.float32)); t.tolist()
    [[0.0], [2.0]]
    """
    order = rows.argsort(kind="stable")
    ordered = rows[order]
    first = np.flatnonzero(np.diff(ordered, prepend=-1))
    distinct, times = ordered[first], np.diff(first, append=len(rows))
    # Sums of rows as a sparse product: half the time of `np.add.at` over flat indices.
    ones = np.ones(len(rows), np.float32)
    which = csr_array((ones, order, np.append(first, len(rows))), (len(first), len(rows)))
    change = which @ steps
    change *= np.minimum(1.0, STEPS_MAX / times).astype(np.float32)[:, None]
    change += table[distinct]
    norm = np.sqrt(np.einsum("nf,nf->n", change, change))
    change *= (NORM_MAX / np.maximum(norm, NORM_MAX))[:, None]
    table[distinct] = change
