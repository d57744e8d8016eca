"""How big each segment is and what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segment_counts import ENTERED, LEFT, ORDERS, REVENUE_MICROS
from state import keys
from state.interactions import NOBODY
from state.shopper import MICROS
from state.times import DAY_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.audience import Audience
    from state.messages import Write


def stats(audience: Audience, now_ms: int, heard_ms: int, watermark_ms: int) -> list[Write]:
    """Each segment's size and worth as a HASH, and its history until now.

    conversion_1d: share of the members active within a day who bought within a day.
    """
    since_ms, rows = now_ms - DAY_MS, audience.rows
    segments = len(audience.roster)
    sizes = audience.sizes()
    identified = _members(audience, audience.known[:rows])
    active = _members(audience, audience.last_ms[:rows] >= since_ms)
    buyers = _members(audience, audience.order_ms[:rows] >= since_ms)
    lately = audience.counts.since("minutes", now_ms, segments)
    day = audience.counts.since("hours", now_ms, segments)
    writes: list[Write] = [
        (
            "HSET",
            keys.stats_key(sid),
            "size",
            int(sizes[s]),
            "identified",
            int(identified[s]),
            "entered_5m",
            int(lately[s, ENTERED]),
            "left_5m",
            int(lately[s, LEFT]),
            "conversion_1d",
            f"{buyers[s] / active[s]:.4f}" if active[s] else "0.0000",
            "revenue_1d",
            f"{day[s, REVENUE_MICROS] / MICROS:.2f}",
            "aov_1d",
            f"{day[s, REVENUE_MICROS] / MICROS / day[s, ORDERS]:.2f}" if day[s, ORDERS] else "0.00",
            "watermark_ms",
            watermark_ms,
            "at",
            now_ms,
        )
        for s, sid in enumerate(audience.roster.ids)
    ]
    return [*audience.counts.writes(heard_ms, audience.roster.ids, sizes), *writes]


def conversion(audience: Audience, now_ms: int) -> float:
    """Share of all shoppers active within a day who bought within a day."""
    since_ms, rows = now_ms - DAY_MS, audience.rows
    active = np.count_nonzero(audience.last_ms[:rows] >= since_ms)
    buyers = np.count_nonzero(audience.order_ms[:rows] >= since_ms)
    return buyers / active if active else 0.0


def _members(audience: Audience, among: NDArray[np.bool_]) -> NDArray[np.int64]:
    """How many of some shoppers are in each segment."""
    segments, flags = len(audience.roster), audience.flags
    owner = flags.owner[: flags.length]
    live = owner != NOBODY
    live[live] = among[owner[live]]
    total = np.bincount(flags.segment[: flags.length][live], minlength=segments)
    for dimension in audience.dimensions.values():
        of_kind = dimension.segment[: audience.rows]
        total = total + np.bincount(of_kind[(of_kind != NOBODY) & among], minlength=segments)
    return total
