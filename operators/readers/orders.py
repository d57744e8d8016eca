"""Joins the rows of one order into one purchase: a shop's log has a row for each item, an order
counts once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.events.decode import truncate_items
from operators.shoppers.amounts import items_micros
from state.dead_letters import DeadLetter
from state.limits import DEFAULT, Limits
from state.money import MICROS_PER_UNIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from state.events import Event

OPEN_ORDERS_MAX = 10_000
ORDER_ROWS_MAX = 10_000
"""Limits of memory, far above any real order. Rows beyond them become events of their own."""

OrderKey = tuple[str, str | None, str | None, str | None]


def join_orders(
    records: Iterable[Event | DeadLetter], *, hold_ms: int, limits: Limits = DEFAULT
) -> Iterator[Event | DeadLetter]:
    """Join purchases and refunds of the same shopper and order into one event with all items.

    An order is kept open until the stream is more than `hold_ms` of event time away from its first
    row, forwards or backwards; other events pass at once. The joined event has the id of the first
    row, the earliest time, and the sum of price times quantity as `value`. A row that is in the log
    twice (the same `event_id`) is joined once: the second one passes unchanged.
    """

    def close_order(rows: dict[str, Event]) -> Event:
        order = _join_rows(rows)
        return (
            order if len(order.items) <= limits.event_items_max else truncate_items(order, limits)
        )

    open_orders: dict[OrderKey, dict[str, Event]] = {}
    for record in records:
        if isinstance(record, DeadLetter):
            yield record
            continue
        while open_orders and _is_complete(open_orders, record.event_ts, hold_ms):
            yield close_order(open_orders.pop(next(iter(open_orders))))
        if record.order_id is None:
            yield record
            continue
        key = (record.type, record.order_id, record.user_id, record.anonymous_id)
        rows = open_orders.setdefault(key, {})
        if record.event_id in rows:
            yield record
            continue
        rows[record.event_id] = record
        if len(rows) >= ORDER_ROWS_MAX:
            yield close_order(open_orders.pop(key))
    for rows in open_orders.values():
        yield close_order(rows)


def _is_complete(open_orders: dict[OrderKey, dict[str, Event]], now_ms: int, hold_ms: int) -> bool:
    oldest = next(iter(open_orders.values()))
    first = next(iter(oldest.values()))
    return abs(now_ms - first.event_ts) > hold_ms or len(open_orders) >= OPEN_ORDERS_MAX


def _join_rows(by_id: dict[str, Event]) -> Event:
    rows = list(by_id.values())
    items = tuple(item for row in rows for item in row.items)
    left_out = dict.fromkeys(name for row in rows for name in row.left_out)
    has_prices = any(item.price is not None for item in items)
    at_ms = min(row.event_ts for row in rows)
    return replace(
        rows[0],
        event_ts=at_ms,
        received_ts=at_ms,
        items=items,
        left_out=tuple(left_out),
        value=items_micros(items) / MICROS_PER_UNIT if has_prices else None,
    )
