"""The Redis commands that write a profile and a running session, as a HASH each.

The names of the fields are public: `docs/redis.md` lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shoppers.profile import PUBLISHED_COUNTERS, mean_order_micros
from state.money import format_decimal
from state.resp import pack_command, pack_int, pack_str
from state.shopper import INTENTS, PURPOSES, purpose_names
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from state.shopper import Session, Shopper

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


_REQUIRED_ARGUMENTS = 26
"""HSET, the key, and twelve fields with their values."""


def profile_command(key: str, shopper: Shopper, category: str, share: float) -> tuple[str, int]:
    """The command that writes a profile, packed without its head, and how many arguments it has.

    Other steps append fields and add the head. Counters are integers, money and shares are decimals.
    `share` is that of the top `category`.
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
    optional, count = _optional_fields(shopper, category, share)
    return text + optional, _REQUIRED_ARGUMENTS + count


def _optional_fields(shopper: Shopper, category: str, share: float) -> tuple[str, int]:
    """The fields that not every profile has, packed, and how many arguments they are."""
    text, count = "", 0
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
        text += f"{pack_str('refunded')}{pack_str(format_decimal(shopper.refund_micros))}"
        count += 2
    for name in PUBLISHED_COUNTERS:
        if value := getattr(shopper, name):
            text += pack_str(name) + pack_int(value)
            count += 2
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


def session_command(shopper_id: str, key: str, session: Session) -> bytes:
    """The command that writes a running session. Its id is the same in every replay."""
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


def unconverted_text(amounts: Mapping[str, int]) -> str:
    """Amounts by currency, as `JPY 10000.00, USD 5.00`."""
    return ", ".join(f"{code} {format_decimal(amount)}" for code, amount in sorted(amounts.items()))


def consent_text(shopper: Shopper) -> str:
    """The statement of consent, as `analytics=1,personalization=0,ads=?`; `?` for not asked."""
    answers = ("?" if answer is None else int(answer) for answer in shopper.consent[1:])
    return ",".join(f"{name}={answer}" for name, answer in zip(PURPOSES, answers, strict=True))
