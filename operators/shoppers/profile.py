"""A shopper's profile: what one event adds to it, and two profiles that become one.

All of it is sums, firsts and lasts, so that it does not depend on the order in which events come. A new
counter is a field of `state.shopper.Shopper` and a line in `EVENT_COUNTERS`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shoppers import amounts
from operators.shoppers.consent import merge_consent
from state.money import add, to_micros
from state.shopper import BOUGHT, BROWSING, CART, CHECKOUT, CONSIDERING, Session

if TYPE_CHECKING:
    from operators.shoppers.affinities import DecayedCounts
    from state.events import Event
    from state.shopper import Shopper

UNCONVERTED_MAX = 16
"""So many currencies without a rate a shopper may have sums in; the rest becomes one sum."""

EVENT_COUNTERS = {
    "cart_remove": "cart_removes",
    "search": "searches",
    "wishlist_add": "wishlists",
}
"""Event types that add one to a counter of the shopper. Merges add the counters, and duplicates are
subtracted from them. Item views, carts and orders have session counters too: see `apply_event`."""
PUBLISHED_COUNTERS = ("refunds",)
"""Counters that a profile in Redis has under their own name where they are above 0."""

INTENT_OF_TYPE = {
    "item_view": CONSIDERING,
    "wishlist_add": CONSIDERING,
    "reco_click": CONSIDERING,
    "cart_add": CART,
    "checkout_start": CHECKOUT,
    "purchase": BOUGHT,
}
"""How far down the funnel an event brings its session."""


def apply_event(shopper: Shopper, session: Session | None, event: Event) -> None:
    """Add one event to a profile and to its session.

    Not counted here: affinities and viewed prices (`shards.interactions`), refunds (`shoppers.orders`).
    """
    at_ms, event_type = event.event_ts, event.type
    shopper.events += 1
    if at_ms > shopper.last_ms:
        shopper.last_ms = at_ms
    elif at_ms < shopper.first_ms:
        shopper.first_ms = at_ms
    if session is None:
        session = Session(at_ms, at_ms)
    else:
        shopper.session_events += 1
    session.events += 1
    session.intent = max(session.intent, INTENT_OF_TYPE.get(event_type, BROWSING))
    if event_type == "item_view":
        shopper.views += 1
        session.views += 1
    elif event_type == "cart_add":
        shopper.carts += 1
        session.carts += 1
        session.cart_micros = add(session.cart_micros, amounts.items_micros(event.items))
    elif event_type == "purchase":
        _count_purchase(shopper, session, event)
    else:
        _count_other(shopper, session, event)


def _count_purchase(shopper: Shopper, session: Session, event: Event) -> None:
    at_ms = event.event_ts
    shopper.purchases += 1
    shopper.units = add(shopper.units, amounts.unit_count(event.items))
    shopper.revenue_micros = add(shopper.revenue_micros, amounts.value_micros(event))
    shopper.last_purchase_ms = max(shopper.last_purchase_ms, at_ms)
    shopper.first_purchase_ms = min(shopper.first_purchase_ms or at_ms, at_ms)
    if event.apart is not None:
        shopper.unconverted_orders += 1
        add_unconverted(shopper, event.currency or "", to_micros(event.apart))
    elif event.currency:
        shopper.currency = max(shopper.currency, event.currency)
    session.purchases += 1
    session.cart_micros = add(session.cart_micros, -amounts.items_micros(event.items))


def add_unconverted(shopper: Shopper, currency: str, amount: int) -> None:
    """Add an amount in a currency that has no rate."""
    unconverted = shopper.unconverted_micros = (
        {} if shopper.unconverted_micros is None else shopper.unconverted_micros
    )
    if currency not in unconverted and len(unconverted) >= UNCONVERTED_MAX:
        currency = amounts.UNKNOWN_CURRENCY
    unconverted[currency] = add(unconverted.get(currency, 0), amount)


def mean_order_micros(shopper: Shopper) -> int | None:
    """The mean value of the orders in the shop's currency; None without any."""
    orders = shopper.purchases - shopper.unconverted_orders
    return shopper.revenue_micros // orders if orders > 0 else None


def _count_other(shopper: Shopper, session: Session, event: Event) -> None:
    if name := EVENT_COUNTERS.get(event.type):
        setattr(shopper, name, getattr(shopper, name) + 1)
    if event.type == "cart_remove":
        session.cart_micros = add(session.cart_micros, -amounts.items_micros(event.items))


def merge(shopper: Shopper, other: Shopper, affinities: DecayedCounts) -> None:
    """Add another shopper's profile: counters are added, of first times the first holds, of last times
    the last."""
    for name in _SUMMED_FIELDS:
        setattr(shopper, name, add(getattr(shopper, name), getattr(other, name)))
    shopper.first_ms = min(shopper.first_ms, other.first_ms)
    shopper.last_ms = max(shopper.last_ms, other.last_ms)
    shopper.last_purchase_ms = max(shopper.last_purchase_ms, other.last_purchase_ms)
    shopper.first_purchase_ms = min(
        shopper.first_purchase_ms or other.first_purchase_ms,
        other.first_purchase_ms or shopper.first_purchase_ms,
    )
    shopper.currency = max(shopper.currency, other.currency)
    for currency, amount in sorted((other.unconverted_micros or {}).items()):
        add_unconverted(shopper, currency, amount)
    merge_consent(shopper, other)
    affinities.merge(shopper, other)


_SUMMED_FIELDS = (
    "events",
    "views",
    "carts",
    *EVENT_COUNTERS.values(),
    "purchases",
    "units",
    "revenue_micros",
    "refunds",
    "refund_micros",
    "viewed_price_micros",
    "viewed_prices",
    "late",
    "unconverted_orders",
)
