"""Logs that are tables: their headers, a reader of some rows, and short forms of what comes out."""

from __future__ import annotations

from operators.readers.registry import READERS
from state.dead_letters import DeadLetter
from state.events import Event

NOW_MS = 1_790_000_000_000
REES46 = (
    "event_time,event_type,product_id,category_id,category_code,brand,price,user_id,user_session"
)
RETAILROCKET = "timestamp,visitorid,event,itemid,transactionid"
YOOCHOOSE = "SessionId\tItemId\tTime"
ONLINE_RETAIL = "InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country"
HEADERS = {
    "rees46": REES46,
    "retailrocket": RETAILROCKET,
    "yoochoose": YOOCHOOSE,
    "online-retail": ONLINE_RETAIL,
}


def read_rows(format_name: str, *rows: str | bytes) -> list[Event | DeadLetter]:
    lines = [row.encode() if isinstance(row, str) else row for row in rows]
    return list(READERS[format_name](lines, source="log", now_ms=NOW_MS))


def events(records: list[Event | DeadLetter]) -> list[Event]:
    return [record for record in records if isinstance(record, Event)]


def faults(records: list[Event | DeadLetter]) -> list[tuple[int, str, str, str]]:
    return [
        (letter.offset, letter.failure_type, letter.errors[0].path, letter.errors[0].message)
        for letter in records
        if isinstance(letter, DeadLetter)
    ]


def summary(event: Event) -> tuple[object, ...]:
    """Type, time, shopper, items, order and value of an event."""
    shopper = event.user_id or event.anonymous_id
    bought = [(item.item_id, item.price, item.quantity) for item in event.items]
    return event.type, event.event_ts, shopper, bought, event.order_id, event.value
