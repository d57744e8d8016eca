"""Statistics of each segment: its size, entries and exits, and what its shoppers ordered.

All figures are of the same window, the day before `at`, and of the same shoppers: those active
within the day who were in the segment at some time of it. The shop's figures are of all shoppers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from state import keys
from state.arrays import NO_ROW
from state.money import format_decimal
from state.times import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.segments.membership_index import MembershipIndex
    from operators.segments.recent_orders import OrderTotals
    from operators.segments.segment_scan import ScanResult
    from state.messages import Write

    Counted = NDArray[np.int64]

RECENT_MS = 5 * MINUTE_MS


class DayStats(NamedTuple):
    """The day before a time, by segment and last of the shop: shoppers, and their orders."""

    shoppers: NDArray[np.int64]
    orders: OrderTotals

    def fields_of(self, segment: int) -> dict[str, str | int]:
        """Return the figures of a segment, by its index; -1 is the shop."""
        totals, shoppers = self.orders, int(self.shoppers[segment])
        orders, micros = int(totals.orders[segment]), int(totals.micros[segment])
        # The scan of many shoppers takes several batches, but buyers are counted at once.
        buyers = min(int(totals.buyers[segment]), shoppers)
        return {
            "conversion_1d": f"{buyers / max(shoppers, 1):.4f}",
            "revenue_1d": format_decimal(micros),
            "aov_1d": format_decimal(micros / max(orders, 1)),
            "orders_1d": orders,
            "buyers_1d": buyers,
            "shoppers_1d": shoppers,
        }

    def after_fields(self, segment: int) -> dict[str, str | int]:
        """Return the orders of shoppers who were in the segment just after the order."""
        return {
            "orders_after_1d": int(self.orders.orders_after[segment]),
            "revenue_after_1d": format_decimal(int(self.orders.micros_after[segment])),
        }


def day_stats(memberships: MembershipIndex, scan: ScanResult, now_ms: int) -> DayStats:
    """Return the figures of the day before a time; `scan` has the shoppers in each segment now."""
    segments, since_ms = len(memberships.registry), now_ms - DAY_MS
    left = memberships.activity.past.departed(memberships.last_ms, since_ms, segments)
    shoppers = np.append(scan.active + left, scan.all_active)
    return DayStats(shoppers, memberships.activity.orders.totals(since_ms, segments))


def stats_writes(
    memberships: MembershipIndex, day: DayStats, now_ms: int, received_ms: int, watermark_ms: int
) -> list[Write]:
    """Return each segment's statistics as a hash, and its history until now."""
    segments = len(memberships.registry)
    memberships.sizes.ensure_segments(segments)
    sizes, identified = memberships.sizes.total, memberships.sizes.identified
    entered = _entered_since(memberships, now_ms - RECENT_MS)
    left = memberships.activity.past.left_since(now_ms - RECENT_MS, segments)
    writes: list[Write] = []
    for s, sid in memberships.registry.active():
        fields: dict[str, str | int] = {
            "size": sizes[s],
            "identified": identified[s],
            "entered_5m": int(entered[s]),
            "left_5m": int(left[s]),
            **day.fields_of(s),
            **day.after_fields(s),
            "watermark_ms": watermark_ms,
            "at": now_ms,
        }
        writes.append(
            ("HSET", keys.stats_key(sid), *(part for pair in fields.items() for part in pair))
        )
    counts = memberships.activity.counts
    return [*counts.writes(received_ms, memberships.registry.ids, np.array(sizes)), *writes]


def _entered_since(memberships: MembershipIndex, after_ms: int) -> Counted:
    """Count the entries into each segment after a time, also of shoppers who left since."""
    segments = len(memberships.registry)
    entered = memberships.activity.past.entered_since(after_ms, segments)
    for column in memberships.exclusive.values():
        recent = column.segment[column.since_ms > after_ms]
        entered += np.bincount(recent[recent != NO_ROW], minlength=segments)
    return entered + memberships.overlapping.entered_since(after_ms, segments)
