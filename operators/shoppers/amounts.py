"""What an event is worth: amounts in whole millionths, quantities, the currency they are in.

Shared by profiles, orders, readers and the conversion of currencies.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from state.money import clamp, to_micros

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.events import Event, Item

UNKNOWN_CURRENCY = "?"
"""In place of a currency that is no code of three letters, or one too many."""


def value_micros(event: Event) -> int:
    """The value of an order: the one it names, else the sum over its items."""
    if event.value is not None:
        return to_micros(event.value)
    return items_micros(event.items)


def items_micros(items: tuple[Item, ...]) -> int:
    """Price times quantity, summed over the items that have a price."""
    return clamp(sum(map(_line_micros, items)))


def _line_micros(item: Item) -> int:
    if not item.price:
        return 0
    amount = to_micros(item.price) * item.quantity
    return amount if isinstance(amount, int) else round(amount)


def unit_count(items: Iterable[Item]) -> int:
    """The number of pieces. Of goods by weight, a unit that was begun is a piece: .35 kg is one."""
    return clamp(sum(ceil(item.quantity) for item in items))


def price_currency(event: Event) -> str:
    """The currency of an event's prices; "" where it names none, or its amounts are not converted."""
    return event.currency or "" if event.apart is None else ""


def amount_currency(event: Event) -> str | None:
    """The currency of an event's amount: "" for the shop's, None where it does not say."""
    if event.apart is not None:
        return event.currency or UNKNOWN_CURRENCY
    return "" if event.currency else None


def stated_micros(event: Event) -> int:
    """The amount of an order or a refund, in the currency that `amount_currency` says."""
    return value_micros(event) if event.apart is None else to_micros(event.apart)
