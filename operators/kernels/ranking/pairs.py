"""The kernel that finds the pairs of shoppers in `operators.tables.bounded_pairs`.

Its plain reference: tests/operators/kernels/ranking/test_pairs.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import kernel

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Times, Weights


@kernel(
    "int64(int32[::1], int64[::1], int32[:, ::1], int32[:, ::1], float32[:, ::1], int64[:, ::1],"
    "int64, int64[::1], int32[::1], float32[::1], int64[::1])"
)
def lookup_pairs(
    shopper: Rows,
    now_ms: Times,
    pair_shopper: Rows,
    pair_item: Rows,
    pair_weight: Weights,
    pair_at_ms: Times,
    half_life_ms: int,
    out_starts: NDArray[np.int64],
    out_item: Rows,
    out_weight: Weights,
    out_at_ms: Times,
) -> int:
    """Write the pairs of each shopper one after another; returns how many there are.

    Weights are as of `now_ms`, or as of the time of each pair if `half_life_ms` is 0.
    """
    count, rows, ways = 0, pair_shopper.shape[0], pair_shopper.shape[1]
    for query in range(len(shopper)):
        out_starts[query] = count
        owner = shopper[query]
        row = owner % rows
        for way in range(ways if owner >= 0 else 0):
            if pair_shopper[row, way] != owner:
                continue
            weight, at_ms = pair_weight[row, way], pair_at_ms[row, way]
            if half_life_ms:
                age = max(now_ms[query] - at_ms, 0) / half_life_ms
                weight *= np.float32(2.0**-age)
            out_item[count], out_weight[count] = pair_item[row, way], weight
            out_at_ms[count] = at_ms
            count += 1
    out_starts[len(shopper)] = count
    return count
