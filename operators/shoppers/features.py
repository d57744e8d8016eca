"""Feature rows: the raw counters of a shopper, and the features that clusters are made from.

The columns of a row and `FEATURES` are stored by position: a change of `FEATURES` restarts the clusters.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from state.money import MICROS_PER_UNIT
from state.shopper import Session
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from state.shopper import Shopper

FEATURES = (
    "visits",
    "visit_length_min",
    "visit_depth",
    "views",
    "cart_rate",
    "purchases",
    "revenue",
    "order_value",
    "price_level",
    "tenure_days",
    "purchase_gap_days",
    "category_share",
)
"""Names of the features, in order. All but the two rates are logarithms, since counts are skewed."""
RATES = ("cart_rate", "category_share")

_NO_SESSION = Session(0, 0)

LAST_MS_COLUMN = 10
"""The column with the time of the shopper's last event (ms)."""
SEEN_COLUMNS = [9, LAST_MS_COLUMN, 21, 22]
"""The columns with the first and the last event, and the begin and end of the last absence (ms)."""
PURCHASE_COLUMNS = [11, 5, 6]
"""The columns with the last purchase (ms), the number of orders and their value (millionths)."""

COLUMN_COUNT = 23
_pack_row = struct.Struct(f"{COLUMN_COUNT}d").pack


def feature_row(shopper: Shopper, top_share: float, session: Session | None) -> bytes:
    """The counters of a shopper, and of its running session if there is one, as packed doubles."""
    if session is None:
        session = _NO_SESSION
    return _pack_row(
        shopper.sessions,
        shopper.session_ms,
        shopper.session_events,
        shopper.views,
        shopper.carts,
        shopper.purchases,
        shopper.revenue_micros,
        shopper.viewed_price_micros,
        shopper.viewed_prices,
        shopper.first_ms,
        shopper.last_ms,
        shopper.last_purchase_ms,
        top_share,
        shopper.carts - shopper.cart_removes,
        session.start_ms,
        session.last_ms,
        session.events,
        session.views,
        session.carts,
        session.purchases,
        session.cart_micros,
        shopper.absence_start_ms,
        shopper.returned_ms,
    )


def feature_rows(rows: Iterable[bytes]) -> NDArray[np.float64]:
    """Feature rows as an array, float64[n, COLUMN_COUNT]."""
    return np.frombuffer(b"".join(rows)).reshape(-1, COLUMN_COUNT)


def feature_matrix(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The features of n feature rows, float64[n, len(FEATURES)].

    A shopper that never bought counts as one that bought on the day of its first event.
    """
    raw = rows.T
    (
        sessions,
        session_ms,
        session_events,
        views,
        carts,
        purchases,
        revenue,
        viewed_price,
        viewed_prices,
    ) = raw[:9]
    first_ms, last_ms, purchase_ms, category_share = raw[9:13]
    per_session = np.maximum(sessions, 1)
    since_ms = last_ms - np.where(purchase_ms > 0, purchase_ms, first_ms)
    return np.column_stack(
        (
            np.log1p(sessions),
            np.log1p(session_ms / per_session / 60_000),
            np.log1p(session_events / per_session),
            np.log1p(views),
            np.minimum(carts / np.maximum(views, 1), 1.0),
            np.log1p(purchases),
            np.log1p(revenue / MICROS_PER_UNIT),
            np.log1p(revenue / MICROS_PER_UNIT / np.maximum(purchases, 1)),
            np.log1p(viewed_price / MICROS_PER_UNIT / np.maximum(viewed_prices, 1)),
            np.log1p((last_ms - first_ms) / DAY_MS),
            np.log1p(np.maximum(since_ms, 0) / DAY_MS),
            category_share,
        )
    )


def to_raw_units(means: NDArray[np.float64], names: Sequence[str]) -> NDArray[np.float64]:
    """Means of features float64[F] in their own units: logarithms are undone, rates stay."""
    is_rate = np.array([name in RATES for name in names])
    return np.where(is_rate, means, np.expm1(means))
