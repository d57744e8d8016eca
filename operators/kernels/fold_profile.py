"""What one event adds to the counters of its shopper and its session, and rows of features.

See `shoppers.profile`, `shoppers.inactivity` and `shoppers.features`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import inlined_bare
from operators.kernels.fold_affinities import is_less
from operators.kernels.fold_sessions import NO_SESSION, clamp
from operators.kernels.shopper_columns import (
    ABSENCE_START_MS,
    AMOUNT_MAX,
    AT_MS,
    CART_ADD,
    CART_MICROS,
    CART_REMOVE,
    CART_REMOVES,
    CARTS,
    CURRENCY,
    EVENT_CURRENCY,
    EVENTS,
    FIRST_MS,
    FIRST_PURCHASE_MS,
    INTENT,
    INTENTS_BY_TYPE,
    ITEM_VIEW,
    LAST_MS,
    LAST_PURCHASE_MS,
    PIECES,
    PURCHASE,
    PURCHASES,
    REFUND_MICROS,
    RETURNED_MS,
    REVENUE_MICROS,
    SEARCH,
    SEARCHES,
    SESSION_CARTS,
    SESSION_EVENT_COUNT,
    SESSION_EVENTS,
    SESSION_MS,
    SESSION_PURCHASES,
    SESSION_VIEWS,
    SESSIONS,
    START_MS,
    TYPE,
    UNITS,
    VALUE_MICROS,
    VIEWED_PRICE_MICROS,
    VIEWED_PRICES,
    VIEWS,
    WISHLIST_ADD,
    WISHLISTS,
)

if TYPE_CHECKING:
    from operators.kernels.shopper_columns import Cells, Reals, Text

_INFINITY_MS = 1 << 62


@inlined_bare
def _latest_gap_in(
    begin_ms: int, end_ms: int, at_ms: int, gap_ms: int, best_begin: int, best_end: int
) -> tuple[int, int]:
    """The later of a gap so far and of what an event leaves of another one."""
    # Before the event, then after it: of two that end at the same time the first counts.
    for is_after in range(2):
        cut_begin = max(begin_ms, at_ms if is_after else -_INFINITY_MS)
        cut_end = min(end_ms, _INFINITY_MS if is_after else at_ms)
        is_gap = cut_begin > -_INFINITY_MS and cut_end < _INFINITY_MS
        if is_gap and cut_end - cut_begin >= gap_ms and cut_end > best_end:
            best_begin, best_end = cut_begin, cut_end
    return best_begin, best_end


@inlined_bare
def observe_absence(counters: Cells, row: int, at_ms: int, gap_ms: int) -> None:
    """Update the absence with an event: it may end a gap, or fall into one. Call it before it counts."""
    first_ms, last_ms = counters[row, FIRST_MS], counters[row, LAST_MS]
    returned_ms = counters[row, RETURNED_MS]
    if at_ms - last_ms < gap_ms and at_ms >= returned_ms and at_ms >= first_ms:
        return
    begin_ms, end_ms = 0, -_INFINITY_MS
    begin_ms, end_ms = _latest_gap_in(-_INFINITY_MS, first_ms, at_ms, gap_ms, begin_ms, end_ms)
    begin_ms, end_ms = _latest_gap_in(last_ms, _INFINITY_MS, at_ms, gap_ms, begin_ms, end_ms)
    if returned_ms:
        absent_ms = counters[row, ABSENCE_START_MS]
        begin_ms, end_ms = _latest_gap_in(absent_ms, returned_ms, at_ms, gap_ms, begin_ms, end_ms)
    counters[row, ABSENCE_START_MS] = begin_ms
    counters[row, RETURNED_MS] = end_ms if end_ms > -_INFINITY_MS else 0


@inlined_bare
def add_to_session(sessions: Cells, cell: int, event_type: int, goods_micros: int) -> None:
    """Add an event to its session."""
    sessions[cell, SESSION_EVENT_COUNT] += 1
    sessions[cell, INTENT] = max(sessions[cell, INTENT], INTENTS_BY_TYPE[event_type])
    if event_type == ITEM_VIEW:
        sessions[cell, SESSION_VIEWS] += 1
    elif event_type == CART_ADD:
        sessions[cell, SESSION_CARTS] += 1
        sessions[cell, CART_MICROS] = clamp(sessions[cell, CART_MICROS] + goods_micros)
    elif event_type == PURCHASE:
        sessions[cell, SESSION_PURCHASES] += 1
        sessions[cell, CART_MICROS] = clamp(sessions[cell, CART_MICROS] - goods_micros)
    elif event_type == CART_REMOVE:
        sessions[cell, CART_MICROS] = clamp(sessions[cell, CART_MICROS] - goods_micros)


@inlined_bare
def add_to_profile(
    counters: Cells, text: Text, begin: Cells, row: int, event: Cells, has_session: bool
) -> None:
    """Add an event to the counters of its shopper."""
    at_ms, event_type = event[AT_MS], event[TYPE]
    counters[row, EVENTS] += 1
    if at_ms > counters[row, LAST_MS]:
        counters[row, LAST_MS] = at_ms
    elif at_ms < counters[row, FIRST_MS]:
        counters[row, FIRST_MS] = at_ms
    if has_session:
        counters[row, SESSION_EVENTS] += 1
    if event_type == ITEM_VIEW:
        counters[row, VIEWS] += 1
    elif event_type == CART_ADD:
        counters[row, CARTS] += 1
    elif event_type == PURCHASE:
        _add_purchase(counters, text, begin, row, event)
    elif event_type == CART_REMOVE:
        counters[row, CART_REMOVES] += 1
    elif event_type == SEARCH:
        counters[row, SEARCHES] += 1
    elif event_type == WISHLIST_ADD:
        counters[row, WISHLISTS] += 1


@inlined_bare
def _add_purchase(counters: Cells, text: Text, begin: Cells, row: int, event: Cells) -> None:
    at_ms, first_ms = event[AT_MS], counters[row, FIRST_PURCHASE_MS]
    counters[row, PURCHASES] += 1
    counters[row, UNITS] = clamp(counters[row, UNITS] + event[PIECES])
    counters[row, REVENUE_MICROS] = clamp(counters[row, REVENUE_MICROS] + event[VALUE_MICROS])
    counters[row, LAST_PURCHASE_MS] = max(counters[row, LAST_PURCHASE_MS], at_ms)
    counters[row, FIRST_PURCHASE_MS] = min(first_ms, at_ms) if first_ms else at_ms
    code = event[EVENT_CURRENCY]
    if code != counters[row, CURRENCY] and is_less(text, begin, counters[row, CURRENCY], code):
        counters[row, CURRENCY] = code


@inlined_bare
def is_saturated(counters: Cells, sessions: Cells, row: int, cell: int) -> bool:
    """Whether a sum of a shopper or of its session is at the largest amount there is."""
    largest = max(
        abs(counters[row, REVENUE_MICROS]),
        abs(counters[row, REFUND_MICROS]),
        abs(counters[row, UNITS]),
    )
    if cell != NO_SESSION:
        largest = max(largest, abs(sessions[cell, CART_MICROS]))
    return bool(largest >= AMOUNT_MAX)


@inlined_bare
def add_viewed_price(counters: Cells, row: int, price_micros: int) -> None:
    """Count the price of an item that was viewed."""
    total = counters[row, VIEWED_PRICE_MICROS] + price_micros
    counters[row, VIEWED_PRICE_MICROS] = min(total, AMOUNT_MAX)
    counters[row, VIEWED_PRICES] += 1


@inlined_bare
def write_features(
    counters: Cells, sessions: Cells, row: int, cell: int, share: float, out: Reals
) -> None:
    """Write a feature row, with the session in a cell if there is one."""
    out[0] = counters[row, SESSIONS]
    out[1] = counters[row, SESSION_MS]
    out[2] = counters[row, SESSION_EVENTS]
    out[3] = counters[row, VIEWS]
    out[4] = counters[row, CARTS]
    out[5] = counters[row, PURCHASES]
    out[6] = counters[row, REVENUE_MICROS]
    out[7] = counters[row, VIEWED_PRICE_MICROS]
    out[8] = counters[row, VIEWED_PRICES]
    out[9] = counters[row, FIRST_MS]
    out[10] = counters[row, LAST_MS]
    out[11] = counters[row, LAST_PURCHASE_MS]
    out[12] = share
    out[13] = counters[row, CARTS] - counters[row, CART_REMOVES]
    for column in range(START_MS, INTENT):
        out[14 + column] = 0 if cell == NO_SESSION else sessions[cell, column]
    out[21] = counters[row, ABSENCE_START_MS]
    out[22] = counters[row, RETURNED_MS]
