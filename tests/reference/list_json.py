"""Lists as JSON, entry by entry: the plain form of their kernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

SCORE_UNITS = 10_000


def entries_json(
    item: Rows,
    score: Weights,
    reason: Rows,
    is_bought: NDArray[np.bool_],
    ids: Sequence[str],
    words: Sequence[str],
) -> list[bytes]:
    """The entries of each list, with commas between."""
    with np.errstate(over="ignore"):
        scaled = np.rint(score * np.float32(SCORE_UNITS))
    # JSON has no word for what is no finite number.
    units = np.where(abs(scaled) < 2.0**62, scaled, 0.0).astype(np.int64)
    lists = []
    for row in range(len(item)):
        entries = []
        for place in range(item.shape[1]):
            one, why = int(item[row, place]), int(reason[row, place])
            if one < 0:
                continue
            prefix = "bought:" if is_bought[row, place] else "because:"
            text = words[-1 - why] if why < 0 else f"{prefix}{ids[why]}"
            number = repr(int(units[row, place]) / SCORE_UNITS).encode()
            entries.append(b"[%s,%s,%s]" % (orjson.dumps(ids[one]), number, orjson.dumps(text)))
        lists.append(b",".join(entries))
    return lists
