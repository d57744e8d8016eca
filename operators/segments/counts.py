"""Counts of each segment by minute and hour: entries, exits, and the orders and revenue of shoppers
who were in the segment just before, and just after, the order."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from operators.tables.time_buckets import ENTRIES_MAX, TimeBuckets
from state import keys, resp
from state.money import format_decimal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from state.messages import Write

ENTERED, LEFT, ORDERS, REVENUE_MICROS, ORDERS_AFTER, REVENUE_AFTER_MICROS = range(6)

_KEYS = {"minutes": keys.history_key, "hours": keys.history_hours_key}
_SIZE, _ENTERED, _LEFT, _PURCHASES, _REVENUE = map(
    resp.pack_str, ("size", "entered", "left", "purchases", "revenue")
)
_PURCHASES_AFTER, _REVENUE_AFTER = map(resp.pack_str, ("purchases_after", "revenue_after"))
_MAXLEN, _NOTHING = resp.pack_str("MAXLEN") + resp.pack_str("~"), resp.pack_str("0.00")
_LEGACY_COLUMNS = {
    "entered": ("minutes", ENTERED),
    "left": ("minutes", LEFT),
    "orders": ("hours", ORDERS),
    "revenue_micros": ("hours", REVENUE_MICROS),
}


class SegmentCounts(TimeBuckets):
    """A history of segments, by their index."""

    def __init__(self) -> None:
        super().__init__(6)

    def restore(self, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        """Restore what `scalars` returned, or a table for each column as older releases stored."""
        super().restore(arrays)
        for name, (unit, column) in _LEGACY_COLUMNS.items():
            for n, at in enumerate(arrays.get(f"{name}.at", ())):
                counts = arrays[f"{name}.counts"][n].astype(np.int64)
                if len(counts):
                    self._bucket(unit, int(at), len(counts) - 1)[: len(counts), column] += counts

    def writes(
        self, clock_ms: int, ids: Sequence[str], sizes: NDArray[np.int64]
    ) -> Iterator[Write]:
        """Yield the entries of the minutes and hours that are over, by the segments' sizes now."""
        for unit, at_ms, counts, since in self.take_closed(clock_ms, len(ids)):
            segments = np.flatnonzero(counts.any(axis=1))
            sizes_then = sizes - since[:, ENTERED] + since[:, LEFT]
            entry_id = resp.pack_str(f"{at_ms}-0")
            for sid, size, (entered, left, orders, micros, orders_after, micros_after) in zip(
                map(ids.__getitem__, segments.tolist()),
                sizes_then[segments].tolist(),
                counts[segments].tolist(),
                strict=True,
            ):
                fields = f"{resp.pack_int(size)}{_ENTERED}{resp.pack_int(entered)}"
                fields += f"{_LEFT}{resp.pack_int(left)}{_PURCHASES}{resp.pack_int(orders)}"
                fields += (
                    f"{_REVENUE}{_money(micros)}{_PURCHASES_AFTER}{resp.pack_int(orders_after)}"
                )
                fields += f"{_REVENUE_AFTER}{_money(micros_after)}"
                yield resp.pack_command(f"{_entry_head(unit, sid)}{entry_id}{_SIZE}{fields}", 20)


def _money(micros: int) -> str:
    return resp.pack_str(format_decimal(micros)) if micros else _NOTHING


@lru_cache(1 << 12)
def _entry_head(unit: str, sid: str) -> str:
    """Return the packed start of an entry."""
    limit = resp.pack_int(ENTRIES_MAX[unit])
    return f"{resp.pack_str('XADD')}{resp.pack_str(_KEYS[unit](sid))}{_MAXLEN}{limit}"
