"""What rules may say of a shopper's profile and of the session that goes on.

Numbers are whole: counts, millionths of money and shares, ms. To add one: a line in the table here, one
in docs/segments.md.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from operators.segments.rules.quantities import COUNT, MINUTES, MONEY, SHARE
from operators.shoppers import profile
from operators.shoppers.affinities import DecayedCounts
from state.money import MICROS
from state.shopper import INTENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from operators.segments.rules.ast import Bounds
    from state.shopper import Session, Shopper

ANY = "any"
"""Stands for every type of event."""
SESSION_BEGINS, FIRST = "a session begins", "the first event"
"""Stand for an event that begins a session or joins two, and for one before all others."""
TASTES = ("item_view", "cart_add", "purchase", "wishlist_add")


class Number(NamedTuple):
    """A number of a shopper, None where there is none; `touched` are the events that may change it.

    One that `grows` never gets less; one that `counts` gets one more with each of these events.
    """

    unit: int
    of: Callable[[Shopper], int | None]
    touched: tuple[str, ...]
    words: str
    grows: bool = False
    counts: bool = False


class Since(NamedTuple):
    """A time (ms) of a shopper, 0 where there is none; rules are about how long ago it is, in days."""

    of: Callable[[Shopper], int]
    touched: tuple[str, ...]
    words: str


class OfSession(NamedTuple):
    """A number of the session that goes on, as `Number`; there is none between two sessions."""

    unit: int
    of: Callable[[Session], int]
    touched: tuple[str, ...]
    words: str
    grows: bool = True
    counts: bool = True


class Text(NamedTuple):
    """A text of a shopper, "" where there is none. `values` are all there can be, if they are known."""

    of: Callable[[Shopper], str]
    touched: tuple[str, ...]
    words: str
    values: tuple[str, ...] = ()
    is_path: bool = False


def _aov(shopper: Shopper) -> int | None:
    return profile.order_value(shopper)


def _price_level(shopper: Shopper) -> int | None:
    prices = shopper.viewed_prices
    return shopper.viewed_price_micros // prices if prices else None


def _cart_rate(shopper: Shopper) -> int | None:
    return shopper.carts * MICROS // shopper.views if shopper.views else None


def _net_revenue(shopper: Shopper) -> int:
    return shopper.revenue_micros - shopper.refund_micros


def _top_category(shopper: Shopper) -> str:
    return DecayedCounts.strongest(shopper)[0]


def _top_category_share(shopper: Shopper) -> int | None:
    return round(DecayedCounts.share(shopper) * MICROS) if shopper.affinity else None


def _currency(shopper: Shopper) -> str:
    return shopper.currency or min(shopper.apart or ("",))


def _known(shopper: Shopper) -> str:
    return "yes" if shopper.known else "no"


def _consent(purpose: int) -> Callable[[Shopper], str]:
    def of(shopper: Shopper) -> str:
        answer = shopper.consent[purpose]
        return "not asked" if answer is None else "yes" if answer else "no"

    return of


def _latest(name: str) -> Callable[[Shopper], str]:
    def of(shopper: Shopper) -> str:
        state = shopper.rules
        return "" if state is None else state.latest.get(name, (0, ""))[1]

    return of


def _counter(field: str, touched: str, words: str, unit: int = COUNT) -> Number:
    # Money and pieces are added many at a time.
    counts = unit == COUNT and field != "units"
    return Number(unit, attrgetter(field), (touched,), words, grows=True, counts=counts)


NUMBERS: dict[str, Number] = {
    "events": _counter("events", ANY, "events"),
    "views": _counter("views", "item_view", "items viewed"),
    "carts": _counter("carts", "cart_add", "items put into the cart"),
    "cart_removes": _counter("cart_removes", "cart_remove", "items taken out of the cart"),
    "searches": _counter("searches", "search", "searches"),
    "wishlists": _counter("wishlists", "wishlist_add", "items wished for"),
    "purchases": _counter("purchases", "purchase", "purchases"),
    "units": _counter("units", "purchase", "pieces bought"),
    "refunds": _counter("refunds", "refund", "refunds"),
    "sessions": Number(COUNT, attrgetter("sessions"), (SESSION_BEGINS,), "sessions"),
    "revenue": _counter("revenue_micros", "purchase", "revenue", MONEY),
    "refunded": _counter("refund_micros", "refund", "refunded", MONEY),
    "net_revenue": Number(MONEY, _net_revenue, ("purchase", "refund"), "revenue less refunds"),
    "aov": Number(MONEY, _aov, ("purchase",), "average order value"),
    "price_level": Number(MONEY, _price_level, ("item_view",), "mean price of items viewed"),
    "cart_rate": Number(SHARE, _cart_rate, ("item_view", "cart_add"), "carts a view"),
    "top_category_share": Number(SHARE, _top_category_share, TASTES, "share of the top category"),
}

SHARES = ("cart_rate", "top_category_share")
"""Numbers from 0 to 1, which may be written as `50 %`."""
SINCE: dict[str, Since] = {
    "first_seen_days": Since(attrgetter("first_ms"), (FIRST,), "first seen"),
    "last_seen_days": Since(attrgetter("last_ms"), (ANY,), "last seen"),
    "recency_days": Since(attrgetter("last_purchase_ms"), ("purchase",), "last purchase"),
    "first_purchase_days": Since(attrgetter("first_purchase_ms"), ("purchase",), "first purchase"),
}

SESSION: dict[str, OfSession] = {
    "session_minutes": OfSession(
        MINUTES,
        lambda s: s.last_ms - s.start_ms,
        (ANY,),
        "minutes in session",
        counts=False,
    ),
    "session_events": OfSession(COUNT, attrgetter("events"), (ANY,), "events in this session"),
    "session_views": OfSession(
        COUNT, attrgetter("views"), ("item_view",), "items viewed in this session"
    ),
    "session_carts": OfSession(
        COUNT, attrgetter("carts"), ("cart_add",), "put into the cart in this session"
    ),
    "session_purchases": OfSession(
        COUNT, attrgetter("purchases"), ("purchase",), "purchases in this session"
    ),
    "session_cart_value": OfSession(
        MONEY,
        lambda s: max(0, s.cart_micros),
        ("cart_add", "cart_remove", "purchase"),
        "worth of the cart in this session",
        grows=False,
        counts=False,
    ),
}

INTENT = "intent"
YES_NO = ("yes", "no")
ANSWERS = ("yes", "no", "not asked")
LATEST = ("device", "country", "campaign_source", "campaign_medium", "campaign_name")
"""Texts that an event may say; the newest stands. Kept only where a rule asks."""

TEXTS: dict[str, Text] = {
    "known": Text(_known, (), "signed in", YES_NO),
    "top_category": Text(_top_category, TASTES, "top category", is_path=True),
    "currency": Text(_currency, ("purchase",), "currency"),
    "consent.analytics": Text(_consent(1), ("consent",), "consent to analytics", ANSWERS),
    "consent.personalization": Text(
        _consent(2), ("consent",), "consent to personalization", ANSWERS
    ),
    "consent.ads": Text(_consent(3), ("consent",), "consent to ads", ANSWERS),
    INTENT: Text(lambda _: "", (), "intent of this session", INTENTS),
    **{name: Text(_latest(name), (), name.replace("_", " ")) for name in LATEST},
}

NAMES = (*NUMBERS, *SINCE, *SESSION, *TEXTS)


class Touch(NamedTuple):
    """Events that may change the answer to what is said of a feature, and to what only (None: both).

    If there are `turns`, only an event that makes the feature one of these numbers does.
    """

    types: tuple[str, ...]
    makes: bool | None
    turns: tuple[int, ...] = ()


def intent_touches(values: tuple[str, ...]) -> list[Touch]:
    """What may change whether a session's intent, which never falls, is one of these."""
    types = tuple(
        name
        for name, reached in profile.INTENT_OF.items()
        if len({INTENTS[intent] in values for intent in range(reached + 1)}) > 1
    )
    return [Touch(types, None), Touch((SESSION_BEGINS,), None)]


def touches(feature: str, bounds: Bounds | None, makes: bool) -> list[Touch]:
    """What may change whether a feature is within bounds; `makes` is False below a `not`."""
    grows, counts, of_session = False, False, feature in SESSION
    if feature in SINCE:
        grows, types = feature == "first_seen_days", SINCE[feature].touched
    elif feature in SESSION:
        _, _, types, _, grows, counts = SESSION[feature]
    elif feature in NUMBERS:
        _, _, types, _, grows, counts = NUMBERS[feature]
    else:
        types = TEXTS[feature].touched
    side: bool | None = None
    if bounds is not None and (bounds.low is None) is not (bounds.high is None):
        if feature == "last_seen_days":  # what has just happened is no time ago
            side = makes is (bounds.low is None)
        elif grows:
            side = makes is (bounds.high is None)
    turns: tuple[int, ...] = ()
    if counts and bounds is not None:
        ends = (bounds.low, None if bounds.high is None else bounds.high + 1)
        turns = tuple(end for end in ends if end is not None)
    found = [Touch(types, side, turns)]
    return [*found, Touch((SESSION_BEGINS,), None)] if of_session else found


def counter(feature: str) -> Callable[[Shopper], int | None]:
    """What a feature that `counts` has come to; of the session that was last, be it over."""
    if feature not in SESSION:
        return NUMBERS[feature].of
    of = SESSION[feature].of
    return lambda shopper: of(shopper.open[-1]) if shopper.open else None
