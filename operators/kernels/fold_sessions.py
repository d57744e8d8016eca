"""The sessions of a shopper: an event enters one, opens one, or joins some. See `shoppers.sessions`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import inlined_bare
from operators.kernels.pools import allocate, release
from operators.kernels.shopper_columns import (
    AMOUNT_MAX,
    CART_MICROS,
    DECISION_HASHES,
    DECISION_PURCHASES,
    DECISIONS,
    DECISIONS_MAX,
    END_MS,
    INTENT,
    OPEN_SESSIONS,
    SESSION_COLUMNS,
    SESSION_EVENT_COUNT,
    SESSION_MS,
    SESSION_POOL,
    SESSION_PURCHASES,
    SESSIONS,
    SESSIONS_AT,
    SESSIONS_CLASS,
    START_MS,
)

if TYPE_CHECKING:
    from operators.kernels.shopper_columns import Cells

NO_SESSION = -1


@inlined_bare
def clamp(amount: int) -> int:
    """The amount, or the limit that it exceeds."""
    return min(max(amount, -AMOUNT_MAX), AMOUNT_MAX)


@inlined_bare
def matches(sessions: Cells, cell: int, at_ms: int, watermark_ms: int, gap_ms: int) -> bool:
    """Whether an event belongs to a session."""
    is_in_time = sessions[cell, END_MS] + gap_ms >= max(at_ms, watermark_ms)
    return bool(is_in_time and sessions[cell, START_MS] - gap_ms <= at_ms)


@inlined_bare
def add_decision(sessions: Cells, cell: int, event_hash: int, purchases: int) -> None:
    """Record a decision, if there is a place for it."""
    count = sessions[cell, DECISIONS]
    if count < DECISIONS_MAX:
        sessions[cell, DECISION_HASHES + count] = event_hash
        sessions[cell, DECISION_PURCHASES + count] = min(purchases, 255)
        sessions[cell, DECISIONS] = count + 1


@inlined_bare
def _merge_later(sessions: Cells, cell: int, other: int) -> None:
    """Merge a later session into one; the caller knows that their decisions fit."""
    purchases = sessions[cell, SESSION_PURCHASES]
    for number in range(sessions[other, DECISIONS]):
        until = sessions[other, DECISION_PURCHASES + number]
        add_decision(sessions, cell, sessions[other, DECISION_HASHES + number], until + purchases)
    sessions[cell, START_MS] = min(sessions[cell, START_MS], sessions[other, START_MS])
    sessions[cell, END_MS] = max(sessions[cell, END_MS], sessions[other, END_MS])
    for column in range(SESSION_EVENT_COUNT, CART_MICROS):
        sessions[cell, column] += sessions[other, column]
    sessions[cell, CART_MICROS] = clamp(sessions[cell, CART_MICROS] + sessions[other, CART_MICROS])
    sessions[cell, INTENT] = max(sessions[cell, INTENT], sessions[other, INTENT])


@inlined_bare
def _join_sessions(
    counters: Cells, sessions: Cells, row: int, at_ms: int, watermark_ms: int, gap_ms: int
) -> int:
    """Make the sessions that an event belongs to one; NO_SESSION where it belongs to none."""
    begin, count = counters[row, SESSIONS_AT], counters[row, OPEN_SESSIONS]
    first, previous_ms, kept = NO_SESSION, 0, 0
    for number in range(count):
        cell = begin + number
        is_match = matches(sessions, cell, at_ms, watermark_ms, gap_ms)
        if is_match:
            previous_ms += sessions[cell, END_MS] - sessions[cell, START_MS]
        if is_match and first != NO_SESSION:
            _merge_later(sessions, first, cell)
            continue
        if kept != number:
            for column in range(SESSION_COLUMNS):
                sessions[begin + kept, column] = sessions[cell, column]
        if is_match:
            first = begin + kept
        kept += 1
    if first == NO_SESSION:
        return NO_SESSION
    counters[row, OPEN_SESSIONS] = kept
    counters[row, SESSIONS] -= count - kept
    sessions[first, START_MS] = min(sessions[first, START_MS], at_ms)
    sessions[first, END_MS] = max(sessions[first, END_MS], at_ms)
    length_ms = sessions[first, END_MS] - sessions[first, START_MS]
    counters[row, SESSION_MS] += length_ms - previous_ms
    return int(first)


@inlined_bare
def _open_session(counters: Cells, sessions: Cells, heap: Cells, row: int, at_ms: int) -> int:
    """Open a session, and keep the sessions in the order of their ends."""
    count, begin = counters[row, OPEN_SESSIONS], counters[row, SESSIONS_AT]
    size_class = counters[row, SESSIONS_CLASS]
    if begin == 0:
        begin = counters[row, SESSIONS_AT] = allocate(heap, SESSION_POOL, sessions, 0)
        counters[row, SESSIONS_CLASS] = 0
    elif count == 1 << size_class:
        larger = allocate(heap, SESSION_POOL, sessions, size_class + 1)
        for number in range(count):
            for column in range(SESSION_COLUMNS):
                sessions[larger + number, column] = sessions[begin + number, column]
        release(heap, SESSION_POOL, sessions, begin, size_class)
        begin = counters[row, SESSIONS_AT] = larger
        counters[row, SESSIONS_CLASS] = size_class + 1
    cell = begin + count
    for column in range(SESSION_COLUMNS):
        sessions[cell, column] = 0
    sessions[cell, START_MS] = sessions[cell, END_MS] = at_ms
    counters[row, OPEN_SESSIONS] = count + 1
    counters[row, SESSIONS] += 1
    if count and sessions[cell - 1, END_MS] > at_ms:
        return _sort_by_end(sessions, begin, count + 1, cell)
    return int(cell)


@inlined_bare
def _sort_by_end(sessions: Cells, begin: int, count: int, opened: int) -> int:
    """Sort sessions by their ends, stably; where the opened one is then."""
    for number in range(1, count):
        cell = begin + number
        while cell > begin and sessions[cell - 1, END_MS] > sessions[cell, END_MS]:
            for column in range(SESSION_COLUMNS):
                swapped = sessions[cell, column]
                sessions[cell, column] = sessions[cell - 1, column]
                sessions[cell - 1, column] = swapped
            if opened == cell:
                opened = cell - 1
            elif opened == cell - 1:
                opened = cell
            cell -= 1
    return opened


@inlined_bare
def enter_session(
    counters: Cells,
    sessions: Cells,
    heap: Cells,
    row: int,
    at_ms: int,
    watermark_ms: int,
    gap_ms: int,
) -> int:
    """The cell of the session that an event belongs to; NO_SESSION for a late event that opens none."""
    count = counters[row, OPEN_SESSIONS]
    if count:
        newest = counters[row, SESSIONS_AT] + count - 1
        end_ms = sessions[newest, END_MS]
        if watermark_ms <= at_ms and end_ms <= at_ms <= end_ms + gap_ms:
            counters[row, SESSION_MS] += at_ms - end_ms
            sessions[newest, END_MS] = at_ms
            return int(newest)
        joined = _join_sessions(counters, sessions, row, at_ms, watermark_ms, gap_ms)
        if joined != NO_SESSION:
            return joined
    if at_ms < watermark_ms:
        return NO_SESSION
    return _open_session(counters, sessions, heap, row, at_ms)


@inlined_bare
def decisions_to_join(
    counters: Cells, sessions: Cells, row: int, at_ms: int, watermark_ms: int, gap_ms: int
) -> int:
    """How many decisions the session of an event has after it has joined others."""
    decisions, begin = 0, counters[row, SESSIONS_AT]
    for number in range(counters[row, OPEN_SESSIONS]):
        if matches(sessions, begin + number, at_ms, watermark_ms, gap_ms):
            decisions += sessions[begin + number, DECISIONS]
    return decisions
