"""Features: what a rule may compare of a shopper's profile and of the session that goes on.

Numbers are whole: counts, millionths of money and shares, ms. To add a feature: one line in a table
here, one in docs/segments.md.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from operators.segments.rules.quantities import COUNT, MINUTES, MONEY, SHARE
from operators.shoppers import profile
from operators.shoppers.affinities import DecayedCounts
from state.money import MICROS_PER_UNIT
from state.shopper import INTENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from state.shopper import Session, Shopper

ANY_EVENT = "any"
"""Stands for every type of event."""
SESSION_START, FIRST_EVENT = "a session begins", "the first event"
"""Stand for an event that begins a session or joins two, and for the earliest event of a shopper."""
AFFINITY_EVENTS = ("item_view", "cart_add", "purchase", "wishlist_add")


class NumberFeature(NamedTuple):
    """A number of a shopper, None where there is none; `changed_by` are the events that may change it.

    A number that `counts_events` grows by one with each of these events.
    """

    unit: int
    value_of: Callable[[Shopper], int | None]
    changed_by: tuple[str, ...]
    label: str
    never_decreases: bool = False
    counts_events: bool = False


class AgeFeature(NamedTuple):
    """A time (ms) of a shopper, 0 where there is none. Rules compare how many days ago it was."""

    time_of: Callable[[Shopper], int]
    changed_by: tuple[str, ...]
    label: str


class SessionFeature(NamedTuple):
    """A number of the session that goes on, as `NumberFeature`; between two sessions there is none."""

    unit: int
    value_of: Callable[[Session], int]
    changed_by: tuple[str, ...]
    label: str
    never_decreases: bool = True
    counts_events: bool = True


class TextFeature(NamedTuple):
    """A text of a shopper, "" where there is none. `values` are all that it can be, if they are
    known."""

    value_of: Callable[[Shopper], str]
    changed_by: tuple[str, ...]
    label: str
    values: tuple[str, ...] = ()
    is_path: bool = False


def _average_order_value(shopper: Shopper) -> int | None:
    return profile.mean_order_micros(shopper)


def _price_level(shopper: Shopper) -> int | None:
    prices = shopper.viewed_prices
    return shopper.viewed_price_micros // prices if prices else None


def _cart_rate(shopper: Shopper) -> int | None:
    return shopper.carts * MICROS_PER_UNIT // shopper.views if shopper.views else None


def _net_revenue(shopper: Shopper) -> int:
    return shopper.revenue_micros - shopper.refund_micros


def _top_category(shopper: Shopper) -> str:
    return DecayedCounts.top(shopper)[0]


def _top_category_share(shopper: Shopper) -> int | None:
    return round(DecayedCounts.top_share(shopper) * MICROS_PER_UNIT) if shopper.affinity else None


def _currency(shopper: Shopper) -> str:
    return shopper.currency or min(shopper.unconverted_micros or ("",))


def _is_known(shopper: Shopper) -> str:
    return "yes" if shopper.known else "no"


def _consent(purpose: int) -> Callable[[Shopper], str]:
    def answer_of(shopper: Shopper) -> str:
        answer = shopper.consent[purpose]
        return "not asked" if answer is None else "yes" if answer else "no"

    return answer_of


def _latest_text(name: str) -> Callable[[Shopper], str]:
    def text_of(shopper: Shopper) -> str:
        state = shopper.rule_state
        return "" if state is None else state.latest_context.get(name, (0, ""))[1]

    return text_of


def _cumulative(field: str, event_type: str, label: str, unit: int = COUNT) -> NumberFeature:
    # An event may add more than one piece, and any amount of money.
    counts_events = unit == COUNT and field != "units"
    return NumberFeature(
        unit,
        attrgetter(field),
        (event_type,),
        label,
        never_decreases=True,
        counts_events=counts_events,
    )


NUMBER_FEATURES: dict[str, NumberFeature] = {
    "events": _cumulative("events", ANY_EVENT, "events"),
    "views": _cumulative("views", "item_view", "items viewed"),
    "carts": _cumulative("carts", "cart_add", "items put into the cart"),
    "cart_removes": _cumulative("cart_removes", "cart_remove", "items taken out of the cart"),
    "searches": _cumulative("searches", "search", "searches"),
    "wishlists": _cumulative("wishlists", "wishlist_add", "items wished for"),
    "purchases": _cumulative("purchases", "purchase", "purchases"),
    "units": _cumulative("units", "purchase", "pieces bought"),
    "refunds": _cumulative("refunds", "refund", "refunds"),
    "sessions": NumberFeature(COUNT, attrgetter("sessions"), (SESSION_START,), "sessions"),
    "revenue": _cumulative("revenue_micros", "purchase", "revenue", MONEY),
    "refunded": _cumulative("refund_micros", "refund", "refunded", MONEY),
    "net_revenue": NumberFeature(
        MONEY, _net_revenue, ("purchase", "refund"), "revenue less refunds"
    ),
    "aov": NumberFeature(MONEY, _average_order_value, ("purchase",), "average order value"),
    "price_level": NumberFeature(MONEY, _price_level, ("item_view",), "mean price of items viewed"),
    "cart_rate": NumberFeature(SHARE, _cart_rate, ("item_view", "cart_add"), "carts a view"),
    "top_category_share": NumberFeature(
        SHARE, _top_category_share, AFFINITY_EVENTS, "share of the top category"
    ),
}

SHARE_FEATURES = ("cart_rate", "top_category_share")
"""Numbers from 0 to 1, which may be written as `50 %`."""

AGE_FEATURES: dict[str, AgeFeature] = {
    "first_seen_days": AgeFeature(attrgetter("first_ms"), (FIRST_EVENT,), "first seen"),
    "last_seen_days": AgeFeature(attrgetter("last_ms"), (ANY_EVENT,), "last seen"),
    "recency_days": AgeFeature(attrgetter("last_purchase_ms"), ("purchase",), "last purchase"),
    "first_purchase_days": AgeFeature(
        attrgetter("first_purchase_ms"), ("purchase",), "first purchase"
    ),
}

SESSION_FEATURES: dict[str, SessionFeature] = {
    "session_minutes": SessionFeature(
        MINUTES,
        lambda s: s.last_ms - s.start_ms,
        (ANY_EVENT,),
        "minutes in session",
        counts_events=False,
    ),
    "session_events": SessionFeature(
        COUNT, attrgetter("events"), (ANY_EVENT,), "events in this session"
    ),
    "session_views": SessionFeature(
        COUNT, attrgetter("views"), ("item_view",), "items viewed in this session"
    ),
    "session_carts": SessionFeature(
        COUNT, attrgetter("carts"), ("cart_add",), "put into the cart in this session"
    ),
    "session_purchases": SessionFeature(
        COUNT, attrgetter("purchases"), ("purchase",), "purchases in this session"
    ),
    "session_cart_value": SessionFeature(
        MONEY,
        lambda s: max(0, s.cart_micros),
        ("cart_add", "cart_remove", "purchase"),
        "worth of the cart in this session",
        never_decreases=False,
        counts_events=False,
    ),
}

INTENT = "intent"
YES_NO = ("yes", "no")
CONSENT_ANSWERS = ("yes", "no", "not asked")
LATEST_TEXTS = ("device", "country", "campaign_source", "campaign_medium", "campaign_name")
"""Texts that an event may carry. The newest is kept, and only if a rule asks for it."""

TEXT_FEATURES: dict[str, TextFeature] = {
    "known": TextFeature(_is_known, (), "signed in", YES_NO),
    "top_category": TextFeature(_top_category, AFFINITY_EVENTS, "top category", is_path=True),
    "currency": TextFeature(_currency, ("purchase",), "currency"),
    "consent.analytics": TextFeature(
        _consent(1), ("consent",), "consent to analytics", CONSENT_ANSWERS
    ),
    "consent.personalization": TextFeature(
        _consent(2), ("consent",), "consent to personalization", CONSENT_ANSWERS
    ),
    "consent.ads": TextFeature(_consent(3), ("consent",), "consent to ads", CONSENT_ANSWERS),
    INTENT: TextFeature(lambda _: "", (), "intent of this session", INTENTS),
    **{name: TextFeature(_latest_text(name), (), name.replace("_", " ")) for name in LATEST_TEXTS},
}

FEATURE_NAMES = (*NUMBER_FEATURES, *AGE_FEATURES, *SESSION_FEATURES, *TEXT_FEATURES)


def session_at(shopper: Shopper, now_ms: int, gap_ms: int) -> Session | None:
    """The session that goes on at a time, None between two sessions."""
    if not shopper.open_sessions:
        return None
    newest = shopper.open_sessions[-1]
    return newest if newest.last_ms + gap_ms >= now_ms else None


def count_reader(feature: str) -> Callable[[Shopper], int | None]:
    """Reads a feature that `counts_events`; one of a session from the last session, even if it is
    over."""
    if feature not in SESSION_FEATURES:
        return NUMBER_FEATURES[feature].value_of
    value_of = SESSION_FEATURES[feature].value_of
    return lambda shopper: value_of(shopper.open_sessions[-1]) if shopper.open_sessions else None
