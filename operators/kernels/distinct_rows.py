"""The kernel that gives each of some rows once. Plain reference: `tests/reference/distinct_rows.py`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from state.arrays import Rows


@kernel("int64(int32[::1], boolean[::1], int32[::1])")
def distinct_rows(rows: Rows, is_taken: NDArray[np.bool_], out: Rows) -> int:
    """Write each row once to `out`, in the order of the first mention; returns how many there are.

    `is_taken` has a place for each row that there may be, and is False before and after.
    """
    count = 0
    for row in rows:
        if not is_taken[row]:
            is_taken[row] = True
            out[count] = row
            count += 1
    for index in range(count):
        is_taken[out[index]] = False
    return count
