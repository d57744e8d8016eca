"""Only the fields of a profile and of a running session that changed since they were last written.

Redis pays for each field of a HASH that is written. A shopper is written with each batch in which it
does something, so what was written of it last is what it was before the batch. Who calls this makes sure
of that: a shopper that was begun, moved or merged in this batch is written whole (`profile_hash`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from operators.shoppers import profile_texts as texts
from state.money import format_decimal
from state.resp import pack_command, pack_int, pack_str

if TYPE_CHECKING:
    from state.shopper import Session, Shopper


class Written(NamedTuple):
    """What a profile and a running session were written of last. Times in ms, amounts in millionths.

    `session` is a copy of the newest open session, None without one.
    """

    known: bool
    first_ms: int
    last_ms: int
    views: int
    carts: int
    orders: tuple[int, int, int, int, int, str]
    viewed_prices: tuple[int, int]
    sessions: int
    session_ms: int
    session_events: int
    session: tuple[int, int, int, int, int, int, int] | None

    @classmethod
    def of(cls, shopper: Shopper) -> Written:
        """What would be written of a shopper as it is now."""
        open_sessions = shopper.open_sessions
        return cls(
            shopper.known,
            shopper.first_ms,
            shopper.last_ms,
            shopper.views,
            shopper.carts,
            _orders(shopper),
            (shopper.viewed_price_micros, shopper.viewed_prices),
            shopper.sessions,
            shopper.session_ms,
            shopper.session_events,
            _session(open_sessions[-1]) if open_sessions else None,
        )


def _orders(shopper: Shopper) -> tuple[int, int, int, int, int, str]:
    return (
        shopper.purchases,
        shopper.units,
        shopper.revenue_micros,
        shopper.unconverted_orders,
        shopper.last_purchase_ms,
        shopper.currency,
    )


def _session(session: Session) -> tuple[int, int, int, int, int, int, int]:
    return (
        session.start_ms,
        session.last_ms,
        session.views,
        session.carts,
        session.purchases,
        session.cart_micros,
        session.intent,
    )


def has_rare_fields(shopper: Shopper) -> bool:
    """Whether a profile has fields that few have: it is written whole."""
    return bool(
        shopper.refunds or shopper.consent[0] or shopper.refused or shopper.unconverted_micros
    )


def changed_profile_command(
    key: str, shopper: Shopper, written: Written, category: str, share: float
) -> tuple[str, int]:
    """As `profile_command`, with only the fields that changed since a profile was written.

    Not for a shopper with rare fields.
    """
    text, count = f"{texts.HSET}{pack_str(key)}{texts.EVENTS}{pack_int(shopper.events)}", 4
    if shopper.last_ms != written.last_ms:
        text += f"{texts.LAST_MS}{pack_int(shopper.last_ms)}"
        count += 2
    if shopper.first_ms != written.first_ms or shopper.known != written.known:
        text += (
            f"{texts.FIRST_MS}{pack_int(shopper.first_ms)}{texts.KNOWN}{pack_int(shopper.known)}"
        )
        count += 4
    is_new_count = shopper.sessions != written.sessions
    if is_new_count:
        text += f"{texts.SESSIONS}{pack_int(shopper.sessions)}"
        count += 2
    if is_new_count or shopper.session_ms != written.session_ms:
        text += texts.session_s_mean(shopper)
        count += 2
    if is_new_count or shopper.session_events != written.session_events:
        text += texts.session_depth(shopper)
        count += 2
    more, fields = _changed_interest(shopper, written, category, share)
    orders, order_fields = _changed_orders(shopper, written)
    return f"{text}{more}{orders}", count + 2 * (fields + order_fields)


def _changed_interest(
    shopper: Shopper, written: Written, category: str, share: float
) -> tuple[str, int]:
    """Views, carts and what follows from them, packed, and how many fields they are."""
    text, fields = "", 0
    are_more_views, are_more_carts = shopper.views != written.views, shopper.carts != written.carts
    if are_more_views:
        text += f"{texts.VIEWS}{pack_int(shopper.views)}"
        fields += 1
    if are_more_carts:
        text += f"{texts.CARTS}{pack_int(shopper.carts)}"
        fields += 1
    if are_more_carts or (are_more_views and (shopper.carts or not written.views)):
        text += texts.cart_rate(shopper)
        fields += 1
    viewed_prices = (shopper.viewed_price_micros, shopper.viewed_prices)
    if shopper.viewed_prices and viewed_prices != written.viewed_prices:
        text += texts.price_level(shopper)
        fields += 1
    if category:
        text += texts.top_category(category, share)
        fields += 2
    open_sessions, session = shopper.open_sessions, written.session
    if open_sessions and (session is None or open_sessions[-1].intent != session[-1]):
        text += texts.INTENT_FIELDS[open_sessions[-1].intent]
        fields += 1
    return text, fields


def _changed_orders(shopper: Shopper, written: Written) -> tuple[str, int]:
    """What orders changed, packed, and how many fields they are."""
    text, fields = "", 0
    has_new_orders = _orders(shopper) != written.orders
    if has_new_orders:
        revenue = pack_str(format_decimal(shopper.revenue_micros))
        text += f"{texts.PURCHASES}{pack_int(shopper.purchases)}{texts.REVENUE}{revenue}"
        fields += 2
    if shopper.purchases:
        if has_new_orders:
            text += texts.order_fields(shopper)
            fields += 4
        text += texts.recency_days(shopper)
        fields += 1
    return text, fields


def changed_session_command(key: str, session: Session, written: Written) -> bytes | None:
    """The fields of a running session that changed; None where another session was written."""
    before = written.session
    if before is None or session.start_ms != before[0]:
        return None
    text = f"{texts.HSET}{pack_str(key)}{texts.EVENTS}{pack_int(session.events)}"
    count = 4
    _, last_ms, views, carts, purchases, cart_micros, intent = before
    if session.last_ms != last_ms:
        text += f"{texts.LAST_MS}{pack_int(session.last_ms)}"
        count += 2
    for name, value, value_before in (
        (texts.VIEWS, session.views, views),
        (texts.CARTS, session.carts, carts),
        (texts.PURCHASES, session.purchases, purchases),
    ):
        if value != value_before:
            text += f"{name}{pack_int(value)}"
            count += 2
    if session.cart_micros != cart_micros:
        text += f"{texts.CART_VALUE}{pack_str(format_decimal(max(0, session.cart_micros)))}"
        count += 2
    if session.intent != intent:
        text += texts.INTENT_FIELDS[session.intent]
        count += 2
    return pack_command(text, count)
