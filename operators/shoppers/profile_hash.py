"""The Redis commands that write a profile and a running session, as a HASH each.

The names of the fields are public: `docs/redis.md` lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shoppers import profile_texts as texts
from operators.shoppers.profile import PUBLISHED_COUNTERS
from state.money import format_decimal
from state.resp import pack_command, pack_int, pack_str
from state.shopper import PURPOSES, purpose_names

if TYPE_CHECKING:
    from collections.abc import Mapping

    from state.shopper import Session, Shopper


_REQUIRED_ARGUMENTS = 26
"""HSET, the key, and twelve fields with their values."""


def profile_command(key: str, shopper: Shopper, category: str, share: float) -> tuple[str, int]:
    """The command that writes a profile, packed without its head, and how many arguments it has.

    Other steps append fields and add the head. Counters are integers, money and shares are decimals.
    `share` is that of the top `category`.
    """
    text = (
        f"{texts.HSET}{pack_str(key)}"
        f"{texts.KNOWN}{pack_int(shopper.known)}"
        f"{texts.FIRST_MS}{pack_int(shopper.first_ms)}"
        f"{texts.LAST_MS}{pack_int(shopper.last_ms)}"
        f"{texts.EVENTS}{pack_int(shopper.events)}"
        f"{texts.SESSIONS}{pack_int(shopper.sessions)}"
        f"{texts.session_s_mean(shopper)}"
        f"{texts.session_depth(shopper)}"
        f"{texts.VIEWS}{pack_int(shopper.views)}"
        f"{texts.CARTS}{pack_int(shopper.carts)}"
        f"{texts.cart_rate(shopper)}"
        f"{texts.PURCHASES}{pack_int(shopper.purchases)}"
        f"{texts.REVENUE}{pack_str(format_decimal(shopper.revenue_micros))}"
    )
    optional, count = _optional_fields(shopper, category, share)
    return text + optional, _REQUIRED_ARGUMENTS + count


def _optional_fields(shopper: Shopper, category: str, share: float) -> tuple[str, int]:
    """The fields that not every profile has, packed, and how many arguments they are."""
    text, count = "", 0
    if shopper.viewed_prices:
        text += texts.price_level(shopper)
        count += 2
    if category:
        text += texts.top_category(category, share)
        count += 4
    if shopper.purchases:
        text += texts.order_fields(shopper) + texts.recency_days(shopper)
        count += 10
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
        text += texts.INTENT_FIELDS[shopper.open_sessions[-1].intent]
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
        f"{texts.HSET}{pack_str(key)}"
        f"{texts.ID}{pack_str(f'{shopper_id}:{session.start_ms}')}"
        f"{texts.START_MS}{pack_int(session.start_ms)}"
        f"{texts.LAST_MS}{pack_int(session.last_ms)}"
        f"{texts.EVENTS}{pack_int(session.events)}"
        f"{texts.VIEWS}{pack_int(session.views)}"
        f"{texts.CARTS}{pack_int(session.carts)}"
        f"{texts.PURCHASES}{pack_int(session.purchases)}"
        f"{texts.CART_VALUE}{pack_str(format_decimal(max(0, session.cart_micros)))}"
        f"{texts.INTENT_FIELDS[session.intent]}",
        20,
    )


def unconverted_text(amounts: Mapping[str, int]) -> str:
    """Amounts by currency, as `JPY 10000.00, USD 5.00`."""
    return ", ".join(f"{code} {format_decimal(amount)}" for code, amount in sorted(amounts.items()))


def consent_text(shopper: Shopper) -> str:
    """The statement of consent, as `analytics=1,personalization=0,ads=?`; `?` for not asked."""
    answers = ("?" if answer is None else int(answer) for answer in shopper.consent[1:])
    return ",".join(f"{name}={answer}" for name, answer in zip(PURPOSES, answers, strict=True))
