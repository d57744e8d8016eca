"""Kernels that look at every item of a shop once: what they cost grows with the shop.

Plain references: `tests/reference/item_scans.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import kernel

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights


@kernel("int64(float32[::1], int32[::1], float32[::1])")
def heaviest(score: Weights, out_item: Rows, out_score: Weights) -> int:
    """Write the items with the highest scores above 0, best first, of equals the lower row first.

    Returns how many there are, at most as many as `out_item` has places.
    """
    places, count = len(out_item), 0
    for row in range(len(score)):
        value = score[row]
        if value <= 0 or (count == places and value <= out_score[places - 1]):
            continue
        if count < places:
            count += 1
        place = count - 1
        while place > 0 and out_score[place - 1] < value:
            out_score[place], out_item[place] = out_score[place - 1], out_item[place - 1]
            place -= 1
        out_score[place], out_item[place] = value, row
    return count


@kernel("int64(int32[:, ::1], boolean[::1], int32[::1])")
def members_of(group: Rows, is_wanted: NDArray[np.bool_], out: Rows) -> int:
    """Write the items that are in any wanted group, ascending; returns how many there are.

    group int32[items, 2] are the groups of each item, below 0 for none.
    """
    count = 0
    for row in range(len(group)):
        for column in range(group.shape[1]):
            found = group[row, column]
            if found >= 0 and is_wanted[found]:
                out[count] = row
                count += 1
                break
    return count
