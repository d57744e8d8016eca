"""The columns of a shopper that rules compare: numbers of the profile and of the newest open session.

Features are made of them: one column, the difference of two, or a quotient. To add a feature whose
value is none of these, add a column here. `read_columns` reads them from a shopper.
"""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from operators.kernels import rule_layout as layout
from operators.kernels import shopper_columns as c
from operators.segments.rules.features import (
    AGE_FEATURES,
    INTENT,
    NUMBER_FEATURES,
    SESSION_FEATURES,
)
from operators.shoppers.affinities import DecayedCounts
from state.money import MICROS_PER_UNIT
from state.shopper import Session, Shopper

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    ReadColumns = Callable[[Shopper], tuple[int, ...]]

TOP_SHARE, OPEN_SESSIONS = "top share", "open sessions"
_SESSION = "session "
"""Before the name of a column of the newest open session."""


class ColumnNumber(NamedTuple):
    """A number made of columns: what is done with them, and a factor of the dividend."""

    operation: int
    columns: tuple[str, ...]
    factor: int = 1


NUMBERS = {
    "net_revenue": ColumnNumber(layout.DIFFERENCE, ("revenue_micros", "refund_micros")),
    "aov": ColumnNumber(layout.QUOTIENT, ("revenue_micros", "purchases", "unconverted_orders")),
    "price_level": ColumnNumber(layout.QUOTIENT, ("viewed_price_micros", "viewed_prices")),
    "cart_rate": ColumnNumber(layout.QUOTIENT, ("carts", "views"), MICROS_PER_UNIT),
    "revenue": ColumnNumber(layout.NUMBER, ("revenue_micros",)),
    "refunded": ColumnNumber(layout.NUMBER, ("refund_micros",)),
    "top_category_share": ColumnNumber(layout.NUMBER, (TOP_SHARE,)),
    "session_minutes": ColumnNumber(
        layout.SESSION_DIFFERENCE, (f"{_SESSION}last_ms", f"{_SESSION}start_ms")
    ),
    "session_cart_value": ColumnNumber(layout.SESSION_NUMBER, (f"{_SESSION}cart_micros",)),
    INTENT: ColumnNumber(layout.SESSION_INTENT, (f"{_SESSION}intent",)),
    "first_seen_days": ColumnNumber(layout.AGE, ("first_ms",)),
    "last_seen_days": ColumnNumber(layout.AGE, ("last_ms",)),
    "recency_days": ColumnNumber(layout.AGE, ("last_purchase_ms",)),
    "first_purchase_days": ColumnNumber(layout.AGE, ("first_purchase_ms",)),
}
"""Features that are not simply the counter of their name."""


def number_of(feature: str) -> ColumnNumber | None:
    """How a feature is made of columns; None for a text."""
    if feature in NUMBERS:
        return NUMBERS[feature]
    if feature in SESSION_FEATURES:
        name = feature.removeprefix("session_")
        return ColumnNumber(layout.SESSION_NUMBER, (f"{_SESSION}{name}",))
    if feature in NUMBER_FEATURES:
        return ColumnNumber(layout.NUMBER, (feature,))
    assert feature not in AGE_FEATURES
    return None


def columns_needed(features: Iterable[str]) -> tuple[str, ...]:
    """The columns that features are made of: of the profile, then of the session, then the share."""
    names = {"first_ms", "last_ms"}
    for feature in features:
        if (number := number_of(feature)) is not None:
            names.update(number.columns)
    session = sorted(name for name in names if name.startswith(_SESSION))
    if session:  # `last_ms` says whether it goes on; `start_ms` makes it two columns
        session = [OPEN_SESSIONS, *sorted({*session, f"{_SESSION}last_ms", f"{_SESSION}start_ms"})]
    share = [TOP_SHARE] if TOP_SHARE in names else []
    return (*sorted(names - {*session, *share}), *session, *share)


def fold_column(name: str) -> int:
    """The number of a column of `columns_needed` in what the fold writes of a shopper."""
    if name == TOP_SHARE:
        return c.TOP_SHARE_MICROS
    if name == OPEN_SESSIONS:
        return c.HAS_SESSION
    if name.startswith(_SESSION):
        field = name.removeprefix(_SESSION)
        return c.PROFILE_COLUMNS + Session.__struct_fields__.index(field)
    if name == "unconverted_orders":
        return c.UNCONVERTED_ORDERS
    number = Shopper.__struct_fields__.index(name)
    assert number < c.AFFINITY_SCALE
    return number


def column_reader(columns: tuple[str, ...]) -> ReadColumns:
    """The function that reads these columns of a shopper, in the order of `columns_needed`."""
    has_share = columns[-1] == TOP_SHARE
    of_profile = [name for name in columns if not name.startswith(("open ", _SESSION, "top "))]
    of_session = [name.removeprefix(_SESSION) for name in columns if name.startswith(_SESSION)]
    profile: Callable[[Shopper], tuple[int, ...]] = attrgetter(*of_profile)
    if not of_session:
        if not has_share:
            return profile
        return lambda shopper: (*profile(shopper), _top_share(shopper))
    # A session takes up at least two columns, so this gives a tuple.
    session: Callable[[Session], tuple[int, ...]] = attrgetter(*of_session)
    no_session = (0,) * (1 + len(of_session))

    def read_columns(shopper: Shopper) -> tuple[int, ...]:
        sessions = shopper.open_sessions
        if not sessions:
            in_session = no_session
        elif has_share:
            return (*profile(shopper), 1, *session(sessions[-1]), _top_share(shopper))
        else:
            return (*profile(shopper), 1, *session(sessions[-1]))
        share = (_top_share(shopper),) if has_share else ()
        return (*profile(shopper), *in_session, *share)

    return read_columns


def _top_share(shopper: Shopper) -> int:
    counts = shopper.affinity
    if len(counts) < 2:
        return MICROS_PER_UNIT if counts else layout.NOTHING
    return round(DecayedCounts.top_share(shopper) * MICROS_PER_UNIT)
