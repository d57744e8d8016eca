"""Numbers of columns that kernels and the shopper table share. Nothing here is stored: change freely.

Columns of a shopper up to `LATE` are in the order of the fields of `state.shopper.Shopper`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Cells: TypeAlias = NDArray[np.int64]
    Reals: TypeAlias = NDArray[np.float64]
    Text: TypeAlias = NDArray[np.uint8]
    Table: TypeAlias = tuple[Cells, Cells, Cells, Cells, Reals, Cells, Cells, Text, Cells]
    """Counters; the pools of sessions, event hashes, categories and their weights; the heap of these
    pools; by row a time before which no session ends; the text pool, and where each text begins."""
    Outputs: TypeAlias = tuple[Cells, Cells, Cells, Cells, Reals, Cells, Reals, Cells, Cells]
    """Results by event; who was active; each as it was before; events at which models decide, with
    features; observations, with features; what rules compare of each event's shopper; totals."""

TABLE_TYPE = (
    "Tuple((int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[:, ::1], float64[::1],"
    " int64[:, ::1], int64[::1], uint8[::1], int64[::1]))"
)
OUTPUTS_TYPE = (
    "Tuple((int64[:, ::1], int64[:, ::1], int64[:, ::1], int64[::1], float64[:, ::1],"
    " int64[:, ::1], float64[:, ::1], int64[:, ::1], int64[::1]))"
)

# --- A shopper: one row of `counters`. ---
(
    KNOWN,
    FIRST_MS,
    LAST_MS,
    EVENTS,
    VIEWS,
    CARTS,
    CART_REMOVES,
    SEARCHES,
    WISHLISTS,
    PURCHASES,
    UNITS,
    REVENUE_MICROS,
    REFUNDS,
    REFUND_MICROS,
    FIRST_PURCHASE_MS,
    LAST_PURCHASE_MS,
    VIEWED_PRICE_MICROS,
    VIEWED_PRICES,
    SESSIONS,
    SESSION_MS,
    SESSION_EVENTS,
    LATE,
) = range(22)
(
    AFFINITY_SCALE,
    CURRENCY,
    ABSENCE_START_MS,
    RETURNED_MS,
    UNCONVERTED_ORDERS,
    OPEN_SESSIONS,
) = range(22, 28)
"""`CURRENCY` is a code of the text pool; `OPEN_SESSIONS` counts them."""
(
    SESSIONS_AT,
    SESSIONS_CLASS,
    AFFINITIES,
    AFFINITIES_AT,
    AFFINITIES_CLASS,
    HASHES,
    HASHES_AT,
    HASHES_CLASS,
    OLDEST_HASH,
    ACTIVE_BATCH,
    LEFT_BATCH,
    TICK_PHASE,
) = range(28, 40)
"""Blocks in the pools (first cell, size class, cells in use), and what the current batch notes."""
COLUMNS = 40

# --- A session: one cell of the pool of sessions. ---
(
    START_MS,
    END_MS,
    SESSION_EVENT_COUNT,
    SESSION_VIEWS,
    SESSION_CARTS,
    SESSION_PURCHASES,
    CART_MICROS,
    INTENT,
) = range(8)
DECISIONS_MAX = 8
DECISIONS, DECISION_HASHES = 8, 9
DECISION_PURCHASES = DECISION_HASHES + DECISIONS_MAX
"""How many decisions; the hashes of their events; the purchases until each, 255 at most."""
SESSION_COLUMNS = DECISION_PURCHASES + DECISIONS_MAX

# --- An event: one row of `events`; what the fold makes of it: one row of `results`. ---
(
    ROW,
    AT_MS,
    TYPE,
    HASH,
    WATERMARK_MS,
    REACHED_MS,
    VALUE_MICROS,
    GOODS_MICROS,
    PIECES,
    EVENT_CURRENCY,
    ITEM_FROM,
    ITEM_TO,
) = range(12)
EVENT_COLUMNS = 12
CATEGORY, PRICE_MICROS = range(2)
"""Columns of an item; `PRICE_MICROS` is `NO_PRICE` where it has none."""
NO_PRICE = -1
OUTCOME, SESSION_START_MS, BEGINS_SESSION = range(3)
RESULT_COLUMNS = 3
DUPLICATE, COUNTED, LEFT = range(3)
"""Outcomes. An event that is left, and all later ones of its shopper, are for the slow path."""

# --- Who was active, observations, and sums of a batch. ---
ACTIVE_ROW, FIRST_EVENT, PREVIOUS_MS = range(3)
OBSERVED_EVENT, KNOWN_MS, FEATURES_UNTIL_MS, HAS_FEATURES = range(4)
(
    ACCEPTED,
    DUPLICATES,
    LATE_EVENTS,
    NEW_SHOPPERS,
    OPENED,
    SATURATED,
    ACTIVE_COUNT,
    DECISION_COUNT,
    OBSERVATION_COUNT,
    LACKING_POOL,
) = range(10)
"""`LACKING_POOL` is the one that has no room for the event at which the fold stopped."""
TOTALS = 10

# --- Settings. ---
(
    GAP_MS,
    HASHES_MAX,
    AFFINITIES_MAX,
    SAMPLE_OF_256,
    DECISION_TICKS,
    TICK_MS,
    IDLE_MS,
    KNOWN_IDLE_MS,
    ABSENCE_MS,
    BATCH,
    LATENESS_MS,
) = range(11)
SETTINGS = 11
HALF_LIFE_MS, TWO = range(2)
"""Real settings. Two is one of them since a power of the constant two would not be rounded as in C."""

# --- Pools: one row of `heap` each, the first free cell and the free blocks by size class. ---
SESSION_POOL, HASH_POOL, AFFINITY_POOL = range(3)
NO_POOL = -1
TOP = 0
SIZE_CLASSES = 24
HASHES_CLASS_MIN = 2
"""Room for four event hashes: most shoppers have few events."""

# --- Features, and shoppers as they were. ---
FEATURE_COLUMNS = 23
PROFILE_COLUMNS = 28
"""The columns that a shopper has without its blocks."""
BEFORE_COLUMNS = PROFILE_COLUMNS + DECISIONS
"""A shopper as it was before a batch: these columns, then those of its newest session."""
HAS_SESSION, TOP_SHARE_MICROS, TOP_CATEGORY = range(BEFORE_COLUMNS, BEFORE_COLUMNS + 3)
"""More columns that rules may ask for of a shopper after an event, beside those of `BEFORE_COLUMNS`. The
share is `NO_SHARE` where a shopper has none; a category is a code of the text pool."""
NO_SHARE = -(1 << 63)

# --- Event types: positions in `state.events.EventType`. ---
SEARCH, ITEM_VIEW, CART_ADD, CART_REMOVE = 1, 3, 4, 5
CHECKOUT_START, PURCHASE, WISHLIST_ADD, RECO_CLICK = 6, 7, 9, 11
INTENTS_BY_TYPE = (0, 0, 0, 1, 2, 0, 3, 4, 0, 1, 0, 1, 0, 0, 0, 0, 0)
"""How far down the funnel each type of event brings its session."""
AMOUNT_MAX = (1 << 62) - 1
HOUR_MS = 3_600_000
NEVER_MS = 1 << 62
