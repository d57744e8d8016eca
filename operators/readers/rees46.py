"""`rees46`: the shops of REES46 (multi-category, cosmetics, electronics), CSV in time order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.readers.orders import join_orders
from operators.readers.table import Row, read_amount, read_table, read_time_ms
from state.events import Event, EventType, Item
from state.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from state.dead_letters import DeadLetter

HEADER = [
    "event_time",
    "event_type",
    "product_id",
    "category_id",
    "category_code",
    "brand",
    "price",
    "user_id",
    "user_session",
]
EVENT_TYPES: dict[str, EventType] = {
    "view": "item_view",
    "cart": "cart_add",
    "remove_from_cart": "cart_remove",
    "purchase": "purchase",
}


def read(
    lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
) -> Iterator[Event | DeadLetter]:
    """The log has no order ids: purchases of one `user_session` in one second are one order."""
    records = read_table(
        lines,
        _event,
        format_name="rees46",
        header=HEADER,
        source=source,
        now_ms=now_ms,
        limits=limits,
    )
    return join_orders(records, hold_ms=0, limits=limits)


def _event(row: Row) -> Event:
    at, event_name, product, _, category, brand, price, user, session = row.fields
    event_ts = read_time_ms(at, "event_time")
    return Event(
        event_id=row.event_id,
        type=EVENT_TYPES[event_name],
        event_ts=event_ts,
        user_id=user,
        items=(
            Item(
                item_id=product,
                category=tuple(category.split(".")) if category else (),
                brand=brand or None,
                price=read_amount(price, "price"),
            ),
        ),
        order_id=f"{session or user}:{event_ts}" if event_name == "purchase" else None,
    )
