"""Figures over time, of the shop or of a segment, in as many steps as a chart can show."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from serving.dashboard.streams import minutes, order
from state import keys
from state.times import DAY_MS, HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.store import Reads

SHOP_FIELDS = ("events", "sessions", "active", "carts", "purchases", "revenue")
SEGMENT_FIELDS = ("size", "entered", "left", "purchases", "revenue")
LEVELS = {"size", "active", "sessions"}
"""What is so many at a time; all else is so many in a time, and adds up."""

Row = list[float | None]


class Span(NamedTuple):
    """How far back, in which steps, and whether hours are read or minutes."""

    back_ms: int
    step_ms: int
    by_hour: bool


SPANS = {
    "hour": Span(HOUR_MS, MINUTE_MS, by_hour=False),
    "day": Span(DAY_MS, 5 * MINUTE_MS, by_hour=False),
    "week": Span(8 * DAY_MS, HOUR_MS, by_hour=True),
    "year": Span(400 * DAY_MS, DAY_MS, by_hour=True),
}


async def history(reads: Reads, sid: str, span: Span) -> list[Row]:
    """Time (ms) and figures in steps, the oldest first; `sid` is "" for the shop. Raises UserError."""
    if sid:
        key = keys.history_hours_key(sid) if span.by_hour else keys.history_key(sid)
    else:
        key = keys.shop_history_hours_key() if span.by_hour else keys.shop_history_key()
    newest = await reads.one("XREVRANGE", key, "+", "-", "COUNT", 1)
    if not newest:
        return []
    until_ms = order(newest[0][0])[0]
    entries = await reads.one("XRANGE", key, max(0, until_ms - span.back_ms), "+")
    fields = SEGMENT_FIELDS if sid else SHOP_FIELDS
    return stepped(minutes(entries, fields), fields, span.step_ms)


def stepped(rows: Sequence[Row], fields: Sequence[str], step_ms: int) -> list[Row]:
    """One row a step: the last level of it, the sum of the others.

    >>> stepped([[0, 5.0, 1.0], [60_000, 7.0, 2.0]], ("size", "entered"), 300_000)
    [[0, 7.0, 3.0]]
    """
    steps: dict[int, Row] = {}
    for at_ms, *figures in rows:
        step = int(at_ms or 0) // step_ms * step_ms
        before = steps.get(step)
        if before is None:
            steps[step] = [step, *figures]
            continue
        for i, (field, figure) in enumerate(zip(fields, figures, strict=True), 1):
            if figure is not None:
                before[i] = figure if field in LEVELS else (before[i] or 0) + figure
    return list(steps.values())
