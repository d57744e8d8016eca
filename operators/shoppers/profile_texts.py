"""The fields of profiles and sessions in Redis, packed: names, and names with their values.

The names are public: `docs/redis.md` lists them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.shoppers.profile import mean_order_micros
from state.money import format_decimal
from state.resp import pack_int, pack_str
from state.shopper import INTENTS
from state.times import DAY_MS

if TYPE_CHECKING:
    from state.shopper import Shopper

HSET = pack_str("HSET")
KNOWN, FIRST_MS, LAST_MS, START_MS, ID = map(
    pack_str, ("known", "first_ms", "last_ms", "start_ms", "id")
)
EVENTS, SESSIONS, SESSION_S_MEAN, DEPTH = map(
    pack_str, ("events", "sessions", "session_s_mean", "depth")
)
VIEWS, CARTS, CART_RATE, PURCHASES = map(pack_str, ("views", "carts", "cart_rate", "purchases"))
REVENUE, PRICE_LEVEL, CART_VALUE = map(pack_str, ("revenue", "price_level", "cart_value"))
TOP_CATEGORY, TOP_CATEGORY_SHARE = pack_str("top_category"), pack_str("top_category_share")
RECENCY_DAYS, UNITS, AOV = map(pack_str, ("recency_days", "units", "aov"))
LAST_PURCHASE_MS, CURRENCY = pack_str("last_purchase_ms"), pack_str("currency")
INTENT_FIELDS = tuple(pack_str("intent") + pack_str(intent) for intent in INTENTS)


def session_s_mean(shopper: Shopper) -> str:
    """The mean length of a session in seconds."""
    sessions = shopper.sessions
    text = f"{shopper.session_ms / 1000 / sessions:.1f}" if sessions else "0"
    return SESSION_S_MEAN + pack_str(text)


def session_depth(shopper: Shopper) -> str:
    """The mean number of events of a session."""
    sessions = shopper.sessions
    return DEPTH + pack_str(f"{shopper.session_events / sessions:.2f}" if sessions else "0")


def cart_rate(shopper: Shopper) -> str:
    """Carts per view."""
    views = shopper.views
    return CART_RATE + pack_str(f"{shopper.carts / views:.4f}" if views else "0")


def price_level(shopper: Shopper) -> str:
    """The mean price of the items viewed, of which there are some."""
    mean_micros = shopper.viewed_price_micros // shopper.viewed_prices
    return PRICE_LEVEL + pack_str(format_decimal(mean_micros))


def top_category(category: str, share: float) -> str:
    """The category with the most interest, and its share."""
    return f"{TOP_CATEGORY}{pack_str(category)}{TOP_CATEGORY_SHARE}{pack_str(f'{share:.4f}')}"


def recency_days(shopper: Shopper) -> str:
    """Days from the last order to the last event."""
    recency_ms = max(0, shopper.last_ms - shopper.last_purchase_ms)
    return RECENCY_DAYS + pack_str(f"{recency_ms / DAY_MS:.3f}")


def order_fields(shopper: Shopper) -> str:
    """The four fields that only an order or a refund changes."""
    return (
        f"{UNITS}{pack_int(shopper.units)}"
        f"{AOV}{pack_str(format_decimal(mean_order_micros(shopper) or 0))}"
        f"{LAST_PURCHASE_MS}{pack_int(shopper.last_purchase_ms)}"
        f"{CURRENCY}{pack_str(shopper.currency)}"
    )
