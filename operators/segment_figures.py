"""How big each segment is and what it is worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.segment_counts import ENTERED, LEFT, ORDERS, REVENUE_MICROS
from state import keys
from state.money import decimal

if TYPE_CHECKING:
    from operators.audience import Audience
    from operators.census import Found
    from state.messages import Write


def stats(
    audience: Audience, found: Found, now_ms: int, heard_ms: int, watermark_ms: int
) -> list[Write]:
    """Each segment's size and worth as a HASH, and its history until now.

    conversion_1d: share of the members active within a day who bought within a day, as `found`.
    """
    segments = len(audience.roster)
    audience.sizes.reach(segments)
    sizes, identified = audience.sizes.total, audience.sizes.identified
    conversion = np.zeros(segments)
    some = np.flatnonzero(found.active)
    conversion[some] = found.buyers[some] / found.active[some]
    lately = audience.counts.since("minutes", now_ms, segments)
    day = audience.counts.since("hours", now_ms, segments)
    writes: list[Write] = [
        (
            "HSET",
            keys.stats_key(sid),
            "size",
            sizes[s],
            "identified",
            identified[s],
            "entered_5m",
            int(lately[s, ENTERED]),
            "left_5m",
            int(lately[s, LEFT]),
            "conversion_1d",
            f"{conversion[s]:.4f}",
            "revenue_1d",
            decimal(day[s, REVENUE_MICROS]),
            "aov_1d",
            decimal(day[s, REVENUE_MICROS] / max(day[s, ORDERS], 1)),
            "watermark_ms",
            watermark_ms,
            "at",
            now_ms,
        )
        for s, sid in audience.roster.living()
    ]
    return [*audience.counts.writes(heard_ms, audience.roster.ids, np.array(sizes)), *writes]
