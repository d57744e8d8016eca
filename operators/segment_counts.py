"""What happened in each segment: shoppers who entered and left, orders, revenue."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.history import History, entry
from state import keys
from state.shopper import MICROS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from state.messages import Write

ENTERED, LEFT, ORDERS, REVENUE_MICROS = range(4)

_KEYS = {"minutes": keys.history_key, "hours": keys.history_hours_key}
_FORMER = {
    "entered": ("minutes", ENTERED),
    "left": ("minutes", LEFT),
    "orders": ("hours", ORDERS),
    "revenue_micros": ("hours", REVENUE_MICROS),
}


class Counts(History):
    """A history of segments, by place."""

    def __init__(self) -> None:
        super().__init__(4)

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Take over what `small` gave, or what former releases did: a table for each column."""
        super().restore(arrays)
        for name, (unit, column) in _FORMER.items():
            for n, at in enumerate(arrays.get(f"{name}.at", ())):
                counts = arrays[f"{name}.counts"][n].astype(np.int64)
                if len(counts):
                    self._at(unit, int(at), len(counts) - 1)[: len(counts), column] += counts

    def writes(
        self, clock_ms: int, ids: Sequence[str], sizes: NDArray[np.int64]
    ) -> Iterator[Write]:
        """Entries of the minutes and hours that are over, for segments that are so big now."""
        for unit, at_ms, counts, since in self.finish(clock_ms, len(ids)):
            then = sizes - since[:, ENTERED] + since[:, LEFT]
            for place in np.flatnonzero(counts.any(axis=1)).tolist():
                entered, left, orders, micros = counts[place].tolist()
                fields: dict[str, str | int] = {
                    "size": int(then[place]),
                    "entered": entered,
                    "left": left,
                    "purchases": orders,
                    "revenue": f"{micros / MICROS:.2f}",
                }
                yield entry(_KEYS[unit](ids[place]), unit, at_ms, fields)
