"""How big each segment is, who came and went, and what it is worth.

All of it is of one window, the day before `at`, and of the same people: shoppers seen within the day
who stood in the segment at some moment of it. Of the whole shop likewise, whose people are all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from state import keys
from state.money import decimal
from state.times import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.segments.membership_index import Audience
    from operators.segments.recent_orders import Worth
    from operators.segments.segment_scan import Found
    from state.messages import Write

LATELY_MS = 5 * MINUTE_MS


class Day(NamedTuple):
    """What the day before a time came to, by segment and last of all: people, and what they ordered."""

    shoppers: NDArray[np.int64]
    worth: Worth

    def of(self, place: int) -> dict[str, str | int]:
        """Figures of a segment, by its place, or -1 of the shop."""
        worth, shoppers = self.worth, int(self.shoppers[place])
        orders, micros = int(worth.orders[place]), int(worth.micros[place])
        # Of a great many shoppers those who are here are counted in turn, and buyers at once.
        buyers = min(int(worth.buyers[place]), shoppers)
        return {
            "conversion_1d": f"{buyers / max(shoppers, 1):.4f}",
            "revenue_1d": decimal(micros),
            "aov_1d": decimal(micros / max(orders, 1)),
            "orders_1d": orders,
            "buyers_1d": buyers,
            "shoppers_1d": shoppers,
        }

    def after(self, place: int) -> dict[str, str | int]:
        """Orders of shoppers who stood in a segment just after them."""
        return {
            "orders_after_1d": int(self.worth.orders_after[place]),
            "revenue_after_1d": decimal(int(self.worth.micros_after[place])),
        }


def day(audience: Audience, found: Found, now_ms: int) -> Day:
    """The day before a time, with who was `found` to be in each segment now."""
    segments, since_ms = len(audience.roster), now_ms - DAY_MS
    left = audience.worth.stays.left_by(audience.last_ms, since_ms, segments)
    shoppers = np.append(found.active + left, found.all_active)
    return Day(shoppers, audience.worth.sold.worth(since_ms, segments))


def stats(
    audience: Audience, of_day: Day, now_ms: int, heard_ms: int, watermark_ms: int
) -> list[Write]:
    """Each segment's size and worth as a HASH, and its history until now."""
    segments = len(audience.roster)
    audience.sizes.reach(segments)
    sizes, identified = audience.sizes.total, audience.sizes.identified
    came = audience.came(now_ms - LATELY_MS)
    went = audience.worth.stays.went(now_ms - LATELY_MS, segments)
    writes: list[Write] = []
    for s, sid in audience.roster.living():
        fields: dict[str, str | int] = {
            "size": sizes[s],
            "identified": identified[s],
            "entered_5m": int(came[s]),
            "left_5m": int(went[s]),
            **of_day.of(s),
            **of_day.after(s),
            "watermark_ms": watermark_ms,
            "at": now_ms,
        }
        writes.append(
            ("HSET", keys.stats_key(sid), *(part for pair in fields.items() for part in pair))
        )
    counts = audience.worth.counts
    return [*counts.writes(heard_ms, audience.roster.ids, np.array(sizes)), *writes]
