"""A shopper's profile: what one event adds to it, what two of them make together, how it is shown."""

from __future__ import annotations

from typing import TYPE_CHECKING

from state.shopper import (
    BOUGHT,
    BROWSING,
    CART,
    CHECKOUT,
    CONSIDERING,
    INTENTS,
    MICROS,
    Session,
)
from state.times import DAY_MS

if TYPE_CHECKING:
    from operators.tastes import DecayedCounts
    from state.events import Event, Item
    from state.messages import Write
    from state.shopper import Consents, Shopper

_INTENT_OF = {
    "item_view": CONSIDERING,
    "wishlist_add": CONSIDERING,
    "reco_click": CONSIDERING,
    "cart_add": CART,
    "checkout_start": CHECKOUT,
    "purchase": BOUGHT,
}


def value_micros(event: Event) -> int:
    """What an order is worth: its value, else the sum over its items."""
    if event.value is not None:
        return round(event.value * MICROS)
    return items_micros(event.items)


def items_micros(items: tuple[Item, ...]) -> int:
    """Price times quantity, over the items that have a price."""
    return sum(round(item.price * MICROS) * item.quantity for item in items if item.price)


def count(shopper: Shopper, session: Session | None, event: Event) -> None:
    """Add one event to a profile and to its session.

    All of it is sums, firsts and lasts, so that the order of arrival does not show. What its items
    say of tastes and prices is counted where they are told to the learners, in `operators.visit`.
    """
    at_ms, kind = event.event_ts, event.type
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
    session.intent = max(session.intent, _INTENT_OF.get(kind, BROWSING))
    if kind == "item_view":
        shopper.views += 1
        session.views += 1
    elif kind == "cart_add":
        shopper.carts += 1
        session.carts += 1
        session.cart_micros += items_micros(event.items)
    elif kind == "purchase":
        _count_purchase(shopper, session, event)
    else:
        _count_rest(shopper, session, event)
    if event.consent is not None:
        asked = event.consent
        stated = (event.event_ts, asked.analytics, asked.personalization, asked.ads)
        shopper.consent = _newer(shopper.consent, stated)


def _count_purchase(shopper: Shopper, session: Session, event: Event) -> None:
    at_ms = event.event_ts
    shopper.purchases += 1
    shopper.units += sum(item.quantity for item in event.items)
    shopper.revenue_micros += value_micros(event)
    shopper.last_purchase_ms = max(shopper.last_purchase_ms, at_ms)
    shopper.first_purchase_ms = min(shopper.first_purchase_ms or at_ms, at_ms)
    if event.currency:
        shopper.currency = max(shopper.currency, event.currency)
    session.purchases += 1
    session.cart_micros -= items_micros(event.items)


def _count_rest(shopper: Shopper, session: Session, event: Event) -> None:
    match event.type:
        case "cart_remove":
            shopper.cart_removes += 1
            session.cart_micros -= items_micros(event.items)
        case "refund":
            shopper.refunds += 1
            shopper.refund_micros += value_micros(event)
        case "search":
            shopper.searches += 1
        case "wishlist_add":
            shopper.wishlists += 1


def _newer(one: Consents, other: Consents) -> Consents:
    """The newer of two statements; of two at the same time, for each purpose a no before a yes."""
    if one[0] != other[0]:
        return max(one, other, key=_stated_ms)
    analytics, personalization, ads = map(_stricter, one[1:], other[1:])
    return one[0], analytics, personalization, ads


def _stated_ms(consents: Consents) -> int:
    return consents[0]


def _stricter(one: bool | None, other: bool | None) -> bool | None:
    if one is None or other is None:
        return other if one is None else one
    return one and other


def merge(shopper: Shopper, other: Shopper, tastes: DecayedCounts) -> None:
    """Add another shopper's profile: counters add, firsts are the first, lasts the last."""
    for name in _ADDED:
        setattr(shopper, name, getattr(shopper, name) + getattr(other, name))
    shopper.first_ms = min(shopper.first_ms, other.first_ms)
    shopper.last_ms = max(shopper.last_ms, other.last_ms)
    shopper.last_purchase_ms = max(shopper.last_purchase_ms, other.last_purchase_ms)
    shopper.first_purchase_ms = min(
        shopper.first_purchase_ms or other.first_purchase_ms,
        other.first_purchase_ms or shopper.first_purchase_ms,
    )
    shopper.currency = max(shopper.currency, other.currency)
    shopper.consent = _newer(shopper.consent, other.consent)
    tastes.merge(shopper, other)


_ADDED = (
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
)


def money(micros: int) -> str:
    """Millionths as a decimal with cents.

    >>> money(12_340_000), money(-5_000)
    ('12.34', '-0.01')
    """
    return f"{micros / MICROS:.2f}"


def profile_write(key: str, shopper: Shopper, category: str, share: float) -> Write:
    """The profile as a HASH: whole values, counters as ints, money and shares as decimals."""
    sessions = shopper.sessions
    fields: Write = (
        "HSET",
        key,
        "known",
        int(shopper.known),
        "first_ms",
        shopper.first_ms,
        "last_ms",
        shopper.last_ms,
        "events",
        shopper.events,
        "sessions",
        sessions,
        "session_s_mean",
        f"{shopper.session_ms / 1000 / sessions:.1f}" if sessions else 0,
        "depth",
        f"{shopper.session_events / sessions:.2f}" if sessions else 0,
        "views",
        shopper.views,
        "carts",
        shopper.carts,
        "cart_rate",
        f"{shopper.carts / shopper.views:.4f}" if shopper.views else 0,
        "purchases",
        shopper.purchases,
        "revenue",
        money(shopper.revenue_micros),
    )
    if shopper.viewed_prices:
        price_level = money(shopper.viewed_price_micros // shopper.viewed_prices)
        fields += ("price_level", price_level)
    if category:
        fields += ("top_category", category, "top_category_share", f"{share:.4f}")
    if shopper.purchases:
        fields += (
            "units",
            shopper.units,
            "aov",
            money(shopper.revenue_micros // shopper.purchases),
            "recency_days",
            f"{max(0, shopper.last_ms - shopper.last_purchase_ms) / DAY_MS:.3f}",
            "last_purchase_ms",
            shopper.last_purchase_ms,
            "currency",
            shopper.currency,
        )
    if shopper.refunds:
        fields += ("refunds", shopper.refunds, "refunded", money(shopper.refund_micros))
    if shopper.open:
        fields += ("intent", INTENTS[shopper.open[-1].intent])
    if shopper.consent[0]:
        fields += ("consent", consent_text(shopper))
    return fields


def consent_text(shopper: Shopper) -> str:
    """What was agreed to: `analytics=1,personalization=0,ads=?`, a question mark if not asked."""
    names = ("analytics", "personalization", "ads")
    answers = ("?" if answer is None else int(answer) for answer in shopper.consent[1:])
    return ",".join(f"{name}={answer}" for name, answer in zip(names, answers, strict=True))


def session_write(shopper_id: str, key: str, session: Session) -> Write:
    """The running session as a HASH. Its id is the same on every replay."""
    return (
        "HSET",
        key,
        "id",
        f"{shopper_id}:{session.start_ms}",
        "start_ms",
        session.start_ms,
        "last_ms",
        session.last_ms,
        "events",
        session.events,
        "views",
        session.views,
        "carts",
        session.carts,
        "purchases",
        session.purchases,
        "cart_value",
        money(max(0, session.cart_micros)),
        "intent",
        INTENTS[session.intent],
    )
