"""How big each segment is, who came and went, and what it is worth.

All of it is of one window, the day before `at`, and of the same people: shoppers seen within the day
who stood in the segment at some moment of it. Of the whole shop likewise, whose people are all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from state import keys
from state.money import format_decimal
from state.times import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.segments.membership_index import MembershipIndex
    from operators.segments.recent_orders import OrderTotals
    from operators.segments.segment_scan import ScanResult
    from state.messages import Write

RECENT_MS = 5 * MINUTE_MS


class DayStats(NamedTuple):
    """What the day before a time came to, by segment and last of all: people, and what they ordered."""

    shoppers: NDArray[np.int64]
    orders: OrderTotals

    def fields_of(self, segment: int) -> dict[str, str | int]:
        """Figures of a segment, by its place, or -1 of the shop."""
        totals, shoppers = self.orders, int(self.shoppers[segment])
        orders, micros = int(totals.orders[segment]), int(totals.micros[segment])
        # Of a great many shoppers those who are here are counted in turn, and buyers at once.
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
        """Orders of shoppers who stood in a segment just after them."""
        return {
            "orders_after_1d": int(self.orders.orders_after[segment]),
            "revenue_after_1d": format_decimal(int(self.orders.micros_after[segment])),
        }


def day_stats(memberships: MembershipIndex, scan: ScanResult, now_ms: int) -> DayStats:
    """The day before a time, with who was `scan` to be in each segment now."""
    segments, since_ms = len(memberships.registry), now_ms - DAY_MS
    left = memberships.activity.past.departed(memberships.last_ms, since_ms, segments)
    shoppers = np.append(scan.active + left, scan.all_active)
    return DayStats(shoppers, memberships.activity.orders.totals(since_ms, segments))


def stats_writes(
    memberships: MembershipIndex, day: DayStats, now_ms: int, received_ms: int, watermark_ms: int
) -> list[Write]:
    """Each segment's size and worth as a HASH, and its history until now."""
    segments = len(memberships.registry)
    memberships.sizes.ensure_segments(segments)
    sizes, identified = memberships.sizes.total, memberships.sizes.identified
    entered = memberships.entered_since(now_ms - RECENT_MS)
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
