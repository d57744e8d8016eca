"""`retailrocket`: `events.csv` of the RetailRocket data set, times in ms, not in time order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.readers.orders import join_orders
from operators.readers.table import Row, read_epoch_ms, read_table
from state.events import Event, EventType, Item
from state.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from state.dead_letters import DeadLetter

HEADER = ["timestamp", "visitorid", "event", "itemid", "transactionid"]
EVENT_TYPES: dict[str, EventType] = {
    "view": "item_view",
    "addtocart": "cart_add",
    "transaction": "purchase",
}
HOLD_MS = 2 * 3600 * 1000
"""The file is shuffled within blocks of about an hour, and so are the rows of an order."""


def read(
    lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
) -> Iterator[Event | DeadLetter]:
    """The rows of one visitor with one `transactionid` are one purchase."""
    records = read_table(
        lines,
        _event,
        format_name="retailrocket",
        header=HEADER,
        source=source,
        now_ms=now_ms,
        limits=limits,
    )
    return join_orders(records, hold_ms=HOLD_MS, limits=limits)


def _event(row: Row) -> Event:
    at, visitor, event_name, item, transaction = row.fields
    return Event(
        event_id=row.event_id,
        type=EVENT_TYPES[event_name],
        event_ts=read_epoch_ms(at, "timestamp", unit_ms=1),
        # Visitor 0 is a real visitor, but the id "0" is blocked.
        anonymous_id=f"v{visitor}" if visitor else None,
        items=(Item(item_id=item),),
        order_id=transaction or None,
    )
