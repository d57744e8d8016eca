"""A shopper's orders: each counts once, and its refunds give back no more than its value.

What was given back follows from all refunds of an order, in whatever order they and the order itself
come. A refund that names an amount, or items with prices, gives back that much; one that names items
alone gives back what they cost in the order; one that names the order alone gives back all that is
left. Refunds of an order that has not arrived wait for it; those that name an amount count at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from operators.shoppers import amounts, refunds
from operators.shoppers.profile import add_unconverted
from state.money import add
from state.shopper import Order
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from state.events import Event
    from state.shopper import Shopper

_SWEEP_ABOVE_ORDERS = 32
_GRACE_MS = DAY_MS
"""Forgotten orders are taken out a day later, so that an event that comes late finds the same orders."""


def find(shopper: Shopper, order_hash: bytes, at_ms: int, retention_ms: int) -> Order | None:
    """An order that is remembered at a time, whether it has arrived or only refunds of it."""
    order = shopper.orders.get(order_hash)
    return order if order is not None and order.at_ms > at_ms - retention_ms else None


def record_order(
    shopper: Shopper, order_hash: bytes, event: Event, retention_ms: int
) -> tuple[int, int]:
    """Remember an order, which the profile counts.

    If refunds have come before it: how much more they give back now than they had counted, and the time
    of the newest of them (ms).
    """
    at_ms, order = event.event_ts, order_of(event)
    refunds_only = find(shopper, order_hash, at_ms, retention_ms)
    refunded_more, refund_ms = 0, at_ms
    if refunds_only is not None:
        refund_ms = refunds_only.at_ms
        order, already_counted = merge_orders(order, refunds_only)
        refunded_more = apply_refunds(shopper, order, already_counted)
    shopper.orders = with_order(shopper.orders, order_hash, order, at_ms - retention_ms)
    return refunded_more, refund_ms


def order_of(event: Event) -> Order:
    """The order that a purchase places."""
    return Order(
        event.event_ts,
        amounts.stated_micros(event),
        amounts.unit_count(event.items),
        amounts.items_micros(event.items),
        items=refunds.pack_prices(event),
        currency=amounts.amount_currency(event) or "",
    )


def record_refund(
    shopper: Shopper, order_hash: bytes, refund_hash: bytes, event: Event, retention_ms: int
) -> int:
    """Count a refund; how much it gives back in the shop's currency (millionths)."""
    at_ms, previous_micros = event.event_ts, shopper.refund_micros
    packed = refunds.pack_refund(refund_hash, event)
    refund_order = Order(at_ms, refunds=packed, currency=amounts.amount_currency(event))
    order = find(shopper, order_hash, at_ms, retention_ms)
    if order is None:
        order, count = refund_order, 0
        already_counted: list[Order] = []
        shopper.orders = with_order(shopper.orders, order_hash, refund_order, at_ms - retention_ms)
    else:
        count = refunds.refund_count(order)
        previous = replace(order)
        order, is_merged = merge_orders(order, refund_order)
        if not is_merged:  # in another currency than its order: it counts by itself
            apply_refunds(shopper, refund_order, [])
        already_counted = [previous]
        refunds.compact_if_many(order)
        shopper.orders[order_hash] = order
    shopper.refunds += refunds.refund_count(order) - count
    apply_refunds(shopper, order, already_counted)
    return shopper.refund_micros - previous_micros


def apply_refunds(shopper: Shopper, order: Order, already_counted: Iterable[Order]) -> int:
    """Count the refunds of an order in place of what had been counted of it.

    By how much more they give back in the shop's currency (millionths).
    """
    previous_micros = shopper.refund_micros
    for copy, sign in ((order, 1), *((counted, -1) for counted in already_counted)):
        amount = sign * refunds.refunded_micros(copy)
        if copy.currency and amount:
            add_unconverted(shopper, copy.currency, -amount)
        elif amount:
            shopper.refund_micros = add(shopper.refund_micros, amount)
    return shopper.refund_micros - previous_micros


def merge_orders(copy: Order, other: Order) -> tuple[Order, list[Order]]:
    """Merge two copies of an order: the one that came first, with the refunds of both.

    The list holds the other copy if its refunds are among them. Refunds in another currency are not:
    their amounts stay counted by themselves, and only refunds of all that is left are merged.
    """
    first, later = sorted((copy, other), key=precedence_key)
    currency = first.currency
    if not first.has_arrived and currency is None:
        currency = later.currency
    is_same_currency = later.currency in (None, currency) or first.currency is None
    later_refunds, folded_refunds = later.refunds, first.folded_refunds + later.folded_refunds
    if not is_same_currency:
        later_refunds = refunds.full_refunds(later_refunds)
        folded_refunds += refunds.refund_count(later) - bool(later_refunds) - later.folded_refunds
    at_ms = first.at_ms if first.has_arrived else max(first.at_ms, later.at_ms)
    order = replace(
        first,
        at_ms=at_ms,
        refunds=refunds.merge_refunds(first.refunds, later_refunds),
        folded_refunds=folded_refunds,
        currency=currency,
    )
    return order, [other] if is_same_currency else []


def precedence_key(order: Order) -> tuple[bool, int, int]:
    """Of two copies of an order the one with the smaller key counts: the one that happened first."""
    return (False, order.at_ms, -order.value_micros) if order.has_arrived else (True, 0, 0)


def with_order(
    orders: dict[bytes, Order], order_hash: bytes, order: Order, forget_before_ms: int
) -> dict[bytes, Order]:
    """The orders with one more, which is remembered. The more orders there are, the less often are
    forgotten ones taken out, so that it costs the same on average for each order."""
    order_count = len(orders)
    if order_count >= _SWEEP_ABOVE_ORDERS and int.from_bytes(order_hash, "big") % order_count == 0:
        forget_before_ms -= _GRACE_MS
        orders = {
            known_hash: known
            for known_hash, known in orders.items()
            if known.at_ms > forget_before_ms
        }
    orders[order_hash] = order
    return orders
