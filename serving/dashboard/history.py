"""Reads figures over time, of the shop or of a segment, in as many steps as a chart can show."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from serving.dashboard.redis_values import number
from serving.dashboard.streams import history_rows
from state import keys
from state.replies import parse_entry_id
from state.times import DAY_MS, HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.store import AsyncReader

SHOP_FIELDS = ("events", "sessions", "active", "carts", "purchases", "revenue")
SEGMENT_FIELDS = (
    "size",
    "entered",
    "left",
    "purchases",
    "revenue",
    "purchases_after",
    "revenue_after",
)
GAUGE_FIELD = "size"
"""The only gauge among the fields: it has a value at each time. All others are counts that add up."""

Row = list[float | None]


class Span(NamedTuple):
    """The length of a chart, its step, and whether it reads the history by hours or by minutes."""

    back_ms: int
    step_ms: int
    by_hour: bool


SPANS = {
    "hour": Span(HOUR_MS, MINUTE_MS, by_hour=False),
    "day": Span(DAY_MS, 5 * MINUTE_MS, by_hour=False),
    "week": Span(8 * DAY_MS, HOUR_MS, by_hour=True),
    "year": Span(400 * DAY_MS, DAY_MS, by_hour=True),
}


async def read_history(reader: AsyncReader, sid: str, span: Span) -> list[Row]:
    """Return rows of time (ms) and figures, the oldest first; `sid` is "" for the shop.

    Raises StoreError.

    The last row ends at the newest event time of the shop.
    """
    if sid:
        key = keys.history_hours_key(sid) if span.by_hour else keys.history_key(sid)
    else:
        key = keys.shop_history_hours_key() if span.by_hour else keys.shop_history_key()
    newest, shop_clock = await reader.read_many(
        [("XREVRANGE", key, "+", "-", "COUNT", 1), ("HGET", keys.shop_now_key(), "at")]
    )
    if not newest:
        return []
    unit_ms = HOUR_MS if span.by_hour else MINUTE_MS
    now_ms = max(int(number(shop_clock) or 0), parse_entry_id(newest[0][0])[0] + unit_ms)
    since_ms = max(0, now_ms - span.back_ms) // span.step_ms * span.step_ms
    earlier, entries = await reader.read_many(
        [
            ("XREVRANGE", key, f"({since_ms}", "-", "COUNT", 1),
            ("XRANGE", key, since_ms, "+"),
        ]
    )
    fields = SEGMENT_FIELDS if sid else SHOP_FIELDS
    rows = downsample(history_rows([*earlier, *entries], fields), fields, span.step_ms)
    return fill_gaps(rows, fields, span.step_ms, since_ms, now_ms)


def downsample(rows: Sequence[Row], fields: Sequence[str], step_ms: int) -> list[Row]:
    """Return one row for each step: the last value of the gauge and the sums of the counts.

    >>> downsample([[0, 5.0, 1.0], [60_000, 7.0, 2.0]], ("size", "entered"), 300_000)
    [[0, 7.0, 3.0]]
    """
    steps: dict[int, Row] = {}
    for at_ms, *figures in rows:
        step = int(at_ms or 0) // step_ms * step_ms
        existing = steps.get(step)
        if existing is None:
            steps[step] = [step, *figures]
            continue
        for i, (field, figure) in enumerate(zip(fields, figures, strict=True), 1):
            if figure is not None:
                existing[i] = figure if field == GAUGE_FIELD else (existing[i] or 0) + figure
    return list(steps.values())


def fill_gaps(
    rows: Sequence[Row], fields: Sequence[str], step_ms: int, since_ms: int, now_ms: int
) -> list[Row]:
    """Return a row for each step since `since_ms`, or since the first row.

    The step that is still open has a row if the history has one.
    A history has entries only for steps with events: in a missing step counts are 0 and the gauge
    stays.

    >>> fill_gaps([[0, 5.0, 1.0], [120_000, 7.0, 2.0]], ("size", "entered"), 60_000, 60_000, 200_000)
    [[60000, 5.0, 0.0], [120000, 7.0, 2.0]]
    """
    filled: list[Row] = []
    if not rows:
        return filled
    by_time = {int(row[0] or 0): row for row in rows}
    first, last = min(by_time), max(by_time)
    level = by_time[max((at_ms for at_ms in by_time if at_ms < since_ms), default=first)][1:]
    until_ms = max(now_ms // step_ms * step_ms, last + step_ms)
    for at_ms in range(max(first, since_ms), until_ms, step_ms):
        row = by_time.get(at_ms)
        if row is None:
            row = [
                at_ms,
                *(
                    previous if field == GAUGE_FIELD else 0.0
                    for field, previous in zip(fields, level, strict=True)
                ),
            ]
        filled.append(row)
        level = row[1:]
    return filled
