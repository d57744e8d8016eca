"""A shopper's profile: what one event adds to it, what two of them make together, how it is shown."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from operators.shards import consent
from state.money import add, clamp, format_decimal, to_micros
from state.resp import pack_command, pack_int, pack_str
from state.shopper import (
    BOUGHT,
    BROWSING,
    CART,
    CHECKOUT,
    CONSIDERING,
    INTENTS,
    PURPOSES,
    Session,
    purpose_names,
)
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from operators.shoppers.affinities import DecayedCounts
    from state.events import Event, Item
    from state.shopper import Shopper

UNCONVERTED_MAX = 16
"""Currencies without a rate that a shopper may have sums in."""

INTENT_OF_TYPE = {
    "item_view": CONSIDERING,
    "wishlist_add": CONSIDERING,
    "reco_click": CONSIDERING,
    "cart_add": CART,
    "checkout_start": CHECKOUT,
    "purchase": BOUGHT,
}
"""How far an event brings its session."""


def value_micros(event: Event) -> int:
    """What an order is worth: its value, else the sum over its items."""
    if event.value is not None:
        return to_micros(event.value)
    return items_micros(event.items)


def items_micros(items: tuple[Item, ...]) -> int:
    """Price times quantity, over the items that have a price."""
    return clamp(sum(map(_line_micros, items)))


def _line_micros(item: Item) -> int:
    if not item.price:
        return 0
    amount = to_micros(item.price) * item.quantity
    return amount if isinstance(amount, int) else round(amount)


def price_currency(event: Event) -> str:
    """The currency of the prices of an event, "" where it does not say or they are apart."""
    return event.currency or "" if event.apart is None else ""


def unit_count(items: Iterable[Item]) -> int:
    """How many pieces items are; of goods by weight every unit that was begun: .35 kg is one."""
    return clamp(sum(ceil(item.quantity) for item in items))


def apply_event(shopper: Shopper, session: Session | None, event: Event) -> None:
    """Add one event to a profile and to its session.

    All of it is sums, firsts and lasts, so that the order of arrival does not show. What its items
    say of tastes and prices is counted where they are told to the learners, in
    `operators.shards.processor`;
    what was given back, in `operators.shoppers.orders`.
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
        session.cart_micros = add(session.cart_micros, items_micros(event.items))
    elif event_type == "purchase":
        _count_purchase(shopper, session, event)
    else:
        _count_other(shopper, session, event)


def _count_purchase(shopper: Shopper, session: Session, event: Event) -> None:
    at_ms = event.event_ts
    shopper.purchases += 1
    shopper.units = add(shopper.units, unit_count(event.items))
    shopper.revenue_micros = add(shopper.revenue_micros, value_micros(event))
    shopper.last_purchase_ms = max(shopper.last_purchase_ms, at_ms)
    shopper.first_purchase_ms = min(shopper.first_purchase_ms or at_ms, at_ms)
    if event.apart is not None:
        shopper.unconverted_orders += 1
        add_unconverted(shopper, event.currency or "", to_micros(event.apart))
    elif event.currency:
        shopper.currency = max(shopper.currency, event.currency)
    session.purchases += 1
    session.cart_micros = add(session.cart_micros, -items_micros(event.items))


def add_unconverted(shopper: Shopper, currency: str, amount: int) -> None:
    """Add an amount in a currency that has no rate; where a shopper has many, the rest is one sum."""
    unconverted = shopper.unconverted_micros = (
        {} if shopper.unconverted_micros is None else shopper.unconverted_micros
    )
    if currency not in unconverted and len(unconverted) >= UNCONVERTED_MAX:
        currency = "?"
    unconverted[currency] = add(unconverted.get(currency, 0), amount)


def mean_order_micros(shopper: Shopper) -> int | None:
    """What an order is worth on average, of those in the shop's currency; None without any."""
    orders = shopper.purchases - shopper.unconverted_orders
    return shopper.revenue_micros // orders if orders > 0 else None


def _count_other(shopper: Shopper, session: Session, event: Event) -> None:
    match event.type:
        case "cart_remove":
            shopper.cart_removes += 1
            session.cart_micros = add(session.cart_micros, -items_micros(event.items))
        case "search":
            shopper.searches += 1
        case "wishlist_add":
            shopper.wishlists += 1


def merge(shopper: Shopper, other: Shopper, affinities: DecayedCounts) -> None:
    """Add another shopper's profile: counters add, firsts are the first, lasts the last."""
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
    consent.merge_consent(shopper, other)
    affinities.merge(shopper, other)


_SUMMED_FIELDS = (
    "events",
    "views",
    "carts",
    "cart_removes",
    "searches",
    "wishlists",
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


def profile_command(key: str, shopper: Shopper, category: str, share: float) -> tuple[str, int]:
    """The command that writes the profile, packed but for its head, and how many arguments it has.

    A HASH of whole values: counters as ints, money and shares as decimals.
    """
    sessions, views = shopper.sessions, shopper.views
    length_s = f"{shopper.session_ms / 1000 / sessions:.1f}" if sessions else "0"
    depth = f"{shopper.session_events / sessions:.2f}" if sessions else "0"
    cart_rate = f"{shopper.carts / views:.4f}" if views else "0"
    text = (
        f"{_HSET}{pack_str(key)}"
        f"{_KNOWN}{pack_int(shopper.known)}"
        f"{_FIRST_MS}{pack_int(shopper.first_ms)}"
        f"{_LAST_MS}{pack_int(shopper.last_ms)}"
        f"{_EVENTS}{pack_int(shopper.events)}"
        f"{_SESSIONS}{pack_int(sessions)}"
        f"{_SESSION_S_MEAN}{pack_str(length_s)}"
        f"{_DEPTH}{pack_str(depth)}"
        f"{_VIEWS}{pack_int(views)}"
        f"{_CARTS}{pack_int(shopper.carts)}"
        f"{_CART_RATE}{pack_str(cart_rate)}"
        f"{_PURCHASES}{pack_int(shopper.purchases)}"
        f"{_REVENUE}{pack_str(format_decimal(shopper.revenue_micros))}"
    )
    count = 26
    if shopper.viewed_prices:
        price_level = format_decimal(shopper.viewed_price_micros // shopper.viewed_prices)
        text += _PRICE_LEVEL + pack_str(price_level)
        count += 2
    if category:
        text += (
            f"{_TOP_CATEGORY}{pack_str(category)}{_TOP_CATEGORY_SHARE}{pack_str(f'{share:.4f}')}"
        )
        count += 4
    if shopper.purchases:
        recency_ms = max(0, shopper.last_ms - shopper.last_purchase_ms)
        fields = {
            "units": str(shopper.units),
            "aov": format_decimal(mean_order_micros(shopper) or 0),
            "recency_days": f"{recency_ms / DAY_MS:.3f}",
            "last_purchase_ms": str(shopper.last_purchase_ms),
            "currency": shopper.currency,
        }
        text += "".join(pack_str(name) + pack_str(value) for name, value in fields.items())
        count += 2 * len(fields)
    if shopper.unconverted_micros:
        text += f"{pack_str('unconverted')}{pack_str(unconverted_text(shopper.unconverted_micros))}"
        count += 2
    if shopper.refunds:
        refunded = pack_str(format_decimal(shopper.refund_micros))
        text += f"{pack_str('refunds')}{pack_int(shopper.refunds)}{pack_str('refunded')}{refunded}"
        count += 4
    if shopper.open_sessions:
        text += _INTENT + _INTENTS[shopper.open_sessions[-1].intent]
        count += 2
    if shopper.consent[0]:
        text += pack_str("consent") + pack_str(consent_text(shopper))
        count += 2
    if shopper.refused:
        text += pack_str("refused") + pack_str(purpose_names(shopper.refused))
        count += 2
    return text, count


def unconverted_text(apart: Mapping[str, int]) -> str:
    """Amounts by currency: `JPY 10000.00, USD 5.00`."""
    return ", ".join(f"{code} {format_decimal(amount)}" for code, amount in sorted(apart.items()))


def consent_text(shopper: Shopper) -> str:
    """What was agreed to: `analytics=1,personalization=0,ads=?`, a question mark if not asked."""
    answers = ("?" if answer is None else int(answer) for answer in shopper.consent[1:])
    return ",".join(f"{name}={answer}" for name, answer in zip(PURPOSES, answers, strict=True))


def session_command(shopper_id: str, key: str, session: Session) -> bytes:
    """The running session as a HASH. Its id is the same on every replay."""
    return pack_command(
        f"{_HSET}{pack_str(key)}"
        f"{_ID}{pack_str(f'{shopper_id}:{session.start_ms}')}"
        f"{_START_MS}{pack_int(session.start_ms)}"
        f"{_LAST_MS}{pack_int(session.last_ms)}"
        f"{_EVENTS}{pack_int(session.events)}"
        f"{_VIEWS}{pack_int(session.views)}"
        f"{_CARTS}{pack_int(session.carts)}"
        f"{_PURCHASES}{pack_int(session.purchases)}"
        f"{_CART_VALUE}{pack_str(format_decimal(max(0, session.cart_micros)))}"
        f"{_INTENT}{_INTENTS[session.intent]}",
        20,
    )


_HSET = pack_str("HSET")
_KNOWN, _FIRST_MS, _LAST_MS, _START_MS, _ID = map(
    pack_str, ("known", "first_ms", "last_ms", "start_ms", "id")
)
_EVENTS, _SESSIONS, _SESSION_S_MEAN, _DEPTH = map(
    pack_str, ("events", "sessions", "session_s_mean", "depth")
)
_VIEWS, _CARTS, _CART_RATE, _PURCHASES = map(pack_str, ("views", "carts", "cart_rate", "purchases"))
_REVENUE, _PRICE_LEVEL, _CART_VALUE = map(pack_str, ("revenue", "price_level", "cart_value"))
_TOP_CATEGORY, _TOP_CATEGORY_SHARE = pack_str("top_category"), pack_str("top_category_share")
_INTENT, _INTENTS = pack_str("intent"), tuple(map(pack_str, INTENTS))
