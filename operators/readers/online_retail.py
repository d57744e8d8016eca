"""`online-retail`: UCI Online Retail (I and II), invoices of a British gift shop as CSV."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING

from operators.readers.numbers import parse_number
from operators.readers.orders import join_orders
from operators.readers.table import (
    BadRowError,
    Row,
    header_names,
    read_amount,
    read_table,
    read_time_ms,
)
from state.events import Event, Item
from state.limits import DEFAULT, Limits

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from state.dead_letters import DeadLetter

HEADER = [
    "InvoiceNo",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "UnitPrice",
    "CustomerID",
    "Country",
]
SECOND_HEADER = [
    "Invoice",
    "StockCode",
    "Description",
    "Quantity",
    "InvoiceDate",
    "Price",
    "Customer ID",
    "Country",
]
HOLD_MS = 2 * 60 * 1000
"""36 of 14,722 invoices span two minutes; one of them has rows of another invoice between its own."""


def read(
    lines: Iterable[bytes], *, source: str, now_ms: int, limits: Limits = DEFAULT
) -> Iterator[Event | DeadLetter]:
    """The rows of one invoice are one purchase, or one refund where its number begins with C."""
    decoded = _as_utf8(lines)
    first = next(decoded, b"")
    records = read_table(
        chain([first], decoded),
        _event,
        format_name="online-retail",
        header=SECOND_HEADER if header_names(first)[0] == "invoice" else HEADER,
        source=source,
        now_ms=now_ms,
        limits=limits,
    )
    yield from join_orders(records, hold_ms=HOLD_MS, limits=limits)


def _as_utf8(lines: Iterable[bytes]) -> Iterator[bytes]:
    """The first published file is Latin-1 (pound signs), later copies are UTF-8."""
    for line in lines:
        try:
            line.decode()
        except UnicodeDecodeError:
            yield line.decode("latin-1").encode()
        else:
            yield line


def _event(row: Row) -> Event:
    invoice, code, description, quantity, at, price, customer, country = row.fields
    is_refund = invoice.upper().startswith("C")
    if not customer:
        raise BadRowError("no_identity", "CustomerID", "empty")
    quantity_sold = -_quantity(quantity) if is_refund else _quantity(quantity)
    if quantity_sold <= 0:
        row_kind = "a cancellation" if is_refund else "a sale"
        raise BadRowError("schema_violation", "Quantity", f"{quantity} in {row_kind}")
    return Event(
        event_id=row.event_id,
        type="refund" if is_refund else "purchase",
        event_ts=_invoice_ms(at),
        user_id=customer.removesuffix(".0"),
        items=(
            Item(
                item_id=code,
                name=" ".join(description.split()) or None,
                price=read_amount(price, "UnitPrice"),
                quantity=quantity_sold,
            ),
        ),
        order_id=invoice,
        currency="GBP",
        country=country or None,
    )


def _quantity(text: str) -> float:
    """Pieces, or the weight of goods that are sold by weight."""
    try:
        return int(text)
    except ValueError:
        number = parse_number(text)
        if number is None:
            raise
        return int(number) if number.is_integer() else number


def _invoice_ms(text: str) -> int:
    """ISO, or `12/1/2010 8:26` (month first) as in the first published file. Taken as UTC."""
    if "/" not in text:
        return read_time_ms(text, "InvoiceDate")
    try:
        at = datetime.strptime(text, "%m/%d/%Y %H:%M").replace(tzinfo=UTC)
    except ValueError:
        raise BadRowError(
            "bad_timestamp", "InvoiceDate", f"not a date and time: {text[:40]!r}"
        ) from None
    return round(at.timestamp() * 1000)
