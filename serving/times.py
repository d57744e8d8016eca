"""Formats times for people."""

from __future__ import annotations

from datetime import UTC, datetime


def in_utc(ms: str | float) -> str:
    """Return a time in ms as text, to the second.

    >>> in_utc("1767225600000")
    '2026-01-01 00:00:00 UTC'
    """
    return datetime.fromtimestamp(int(ms) / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
