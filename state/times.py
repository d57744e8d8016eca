"""Spans of time in milliseconds, the unit of all event time, and the two ends of time."""

from __future__ import annotations

from typing import Final

MINUTE_MS: Final = 60_000
HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000

NEVER_MS: Final = (1 << 63) - 1
"""A time that never comes: the largest 64-bit number."""
NEVER_SEEN_MS: Final = -(1 << 63)
"""A time before all others: the smallest 64-bit number. Stored."""
