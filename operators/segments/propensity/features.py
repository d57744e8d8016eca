"""The features of the models: float64 columns, computed from feature rows (`shoppers.features`).

Models store them by position: a change of the columns restarts the models (raise `VERSION`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.shoppers.features import COLUMN_COUNT
from state.money import MICROS_PER_UNIT
from state.times import DAY_MS, MINUTE_MS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

VERSION = 2
"""2: decisions are taken at times of event time; the chances of purchase and churn exclude each
other."""

SESSION_FEATURES = (
    "session_events",
    "session_views",
    "session_carts",
    "session_has_cart",
    "session_purchases",
    "session_minutes",
    "session_pace",
    "session_cart_value",
    "sessions",
    "purchases",
    "purchases_a_session",
    "days_since_purchase",
    "price_level",
    "category_share",
)

SESSION_EVENTS = 16
"""The column of a feature row that is 0 where no session is open."""

assert COLUMN_COUNT >= 21

SHOPPER_FEATURES = (
    "sessions",
    "views",
    "carts",
    "purchases",
    "revenue",
    "order_value",
    "price_level",
    "days_known",
    "days_since_seen",
    "days_since_purchase",
    "overdue",
    "has_purchase",
    "category_share",
)
HAS_CART = SESSION_FEATURES.index("session_has_cart")
DAYS_SINCE_PURCHASE = SHOPPER_FEATURES.index("days_since_purchase")
HAS_PURCHASE = SHOPPER_FEATURES.index("has_purchase")
DAYS_SINCE_SEEN = SHOPPER_FEATURES.index("days_since_seen")


def session_matrix(raw: Floats) -> Floats:
    """The features of the chance that a session buys: feature rows [n, COLUMNS] -> [n, 14].

    Counts are logarithms. For a shopper without a purchase, days are counted from the first event.
    """
    column = raw.T
    sessions, purchases, price, prices = column[0], column[5], column[7], column[8]
    first_ms, last_ms, purchase_ms, focus = column[9:13]
    start_ms, end_ms, events, views, carts, bought, cart_micros = column[14:21]
    minutes = (end_ms - start_ms) / MINUTE_MS
    since_ms = last_ms - np.where(purchase_ms > 0, purchase_ms, first_ms)
    matrix = np.empty((len(raw), len(SESSION_FEATURES)))
    matrix[:, 0] = events
    matrix[:, 1] = views
    matrix[:, 2] = carts
    matrix[:, 3] = carts > 0
    matrix[:, 4] = bought
    matrix[:, 5] = minutes
    matrix[:, 6] = minutes / np.maximum(events, 1)
    matrix[:, 7] = cart_micros / MICROS_PER_UNIT
    matrix[:, 8] = sessions
    matrix[:, 9] = purchases
    matrix[:, 10] = purchases / np.maximum(sessions, 1)
    matrix[:, 11] = np.maximum(since_ms, 0) / DAY_MS
    matrix[:, 12] = price / MICROS_PER_UNIT / np.maximum(prices, 1)
    matrix[:, 13] = focus
    np.log1p(np.maximum(matrix[:, :13], 0.0), out=matrix[:, :13])
    return matrix


def count_columns(raw: Floats) -> NDArray[np.float32]:
    """The columns that are stored of each shopper: feature rows [n, COLUMNS] -> float32[n, 7]:
    sessions, views, carts, purchases, revenue, price level, category share."""
    column = raw.T
    price_level = column[7] / MICROS_PER_UNIT / np.maximum(column[8], 1)
    revenue = column[6] / MICROS_PER_UNIT
    columns = (column[0], column[3], column[4], column[5], revenue, price_level, column[12])
    return np.column_stack(columns).astype(np.float32)


COUNT_COLUMNS = 7
TIMES = [9, 10, 11]
"""Columns of a feature row: first activity, last activity, last purchase."""


def shopper_matrix(
    counts: NDArray[np.float32], times_ms: NDArray[np.int64], now_ms: Floats
) -> Floats:
    """The features of the weekly models -> float64[n, 13].

    `counts`: what `count_columns` returned; `times_ms` [n, 3]: first activity, last activity, last
    purchase (0: none); `now_ms` [n]: the time to compute them for. `overdue` compares the time
    since the last visit with the usual time between visits.
    """
    sessions, views, carts, purchases, revenue, price_level, focus = counts.T
    first_ms, last_ms, purchase_ms = times_ms.T
    has_purchase = purchase_ms > 0
    known = np.maximum(now_ms - first_ms, 0) / DAY_MS
    unseen = np.maximum(now_ms - last_ms, 0) / DAY_MS
    matrix = np.empty((len(counts), len(SHOPPER_FEATURES)))
    matrix[:, 0] = sessions
    matrix[:, 1] = views
    matrix[:, 2] = carts
    matrix[:, 3] = purchases
    matrix[:, 4] = revenue
    matrix[:, 5] = revenue / np.maximum(purchases, 1)
    matrix[:, 6] = price_level
    matrix[:, 7] = known
    matrix[:, 8] = unseen
    matrix[:, 9] = np.maximum(now_ms - np.where(has_purchase, purchase_ms, first_ms), 0) / DAY_MS
    matrix[:, 10] = unseen * np.maximum(sessions, 1) / np.maximum(known - unseen, 1.0)
    np.log1p(np.maximum(matrix[:, :11], 0.0), out=matrix[:, :11])
    matrix[:, 11] = has_purchase
    matrix[:, 12] = focus
    return matrix
