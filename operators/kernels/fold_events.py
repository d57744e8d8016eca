"""The steps of the fold of one event that are about more than its session or its profile: whether it was
counted before, room in the pools, who is active. `fold` has the loop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import inlined_bare
from operators.kernels.fold_affinities import add_affinity
from operators.kernels.fold_profile import add_viewed_price
from operators.kernels.fold_sessions import decisions_to_join, enter_session
from operators.kernels.pools import allocate, has_room, release
from operators.kernels.shopper_columns import (
    ACTIVE_BATCH,
    ACTIVE_COUNT,
    ACTIVE_ROW,
    AFFINITIES,
    AFFINITIES_MAX,
    AFFINITY_POOL,
    AT_MS,
    BATCH,
    CATEGORY,
    DECISIONS,
    DECISIONS_MAX,
    EVENTS,
    FIRST_EVENT,
    FIRST_MS,
    GAP_MS,
    HASH,
    HASH_POOL,
    HASHES,
    HASHES_AT,
    HASHES_CLASS,
    HASHES_CLASS_MIN,
    ITEM_FROM,
    ITEM_TO,
    ITEM_VIEW,
    LAST_MS,
    LATE,
    LATE_EVENTS,
    NEW_SHOPPERS,
    NO_POOL,
    NO_PRICE,
    OLDEST_HASH,
    OPEN_SESSIONS,
    OPENED,
    PREVIOUS_MS,
    PRICE_MICROS,
    PROFILE_COLUMNS,
    SESSION_POOL,
    SESSIONS,
    SESSIONS_AT,
    SESSIONS_CLASS,
    TOP,
    TYPE,
    WATERMARK_MS,
)

if TYPE_CHECKING:
    from operators.kernels.shopper_columns import Cells, Outputs, Reals, Table

_TYPE_BITS = 5


@inlined_bare
def is_remembered(counters: Cells, hashes: Cells, row: int, event_hash: int) -> bool:
    """Whether an event was counted before."""
    begin, found = counters[row, HASHES_AT], False
    for cell in range(begin, begin + counters[row, HASHES]):
        found |= hashes[cell, 0] == event_hash
    return found


@inlined_bare
def remember(
    counters: Cells, hashes: Cells, heap: Cells, row: int, event: Cells, hashes_max: int
) -> None:
    """Remember an event, with its time and type; the oldest is forgotten where they are too many."""
    count, begin = counters[row, HASHES], counters[row, HASHES_AT]
    size_class = counters[row, HASHES_CLASS]
    cell = begin + count
    if count >= hashes_max:
        oldest = counters[row, OLDEST_HASH]
        cell = begin + oldest
        counters[row, OLDEST_HASH] = (oldest + 1) % count
    elif begin == 0 or count == 1 << size_class:
        new_class = size_class + 1 if begin else HASHES_CLASS_MIN
        cell = allocate(heap, HASH_POOL, hashes, new_class)
        counters[row, HASHES_AT], counters[row, HASHES_CLASS] = cell, new_class
        for number in range(count):
            hashes[cell + number, 0] = hashes[begin + number, 0]
            hashes[cell + number, 1] = hashes[begin + number, 1]
        if begin:
            release(heap, HASH_POOL, hashes, begin, size_class)
        cell += count
    if count < hashes_max:
        counters[row, HASHES] = count + 1
    hashes[cell, 0] = event[HASH]
    hashes[cell, 1] = event[AT_MS] << _TYPE_BITS | event[TYPE]


@inlined_bare
def find_lacking_pool(table: Table, row: int, event: Cells) -> int:
    """A pool that has no room for what one event may need; NO_POOL if all have."""
    counters, sessions, hashes, codes, _, heap, _, _, _ = table
    session_class = counters[row, SESSIONS_CLASS] + 1 if counters[row, SESSIONS_AT] else 0
    if not has_room(heap, SESSION_POOL, sessions, session_class):
        return SESSION_POOL
    hash_class = counters[row, HASHES_CLASS] + 1 if counters[row, HASHES_AT] else HASHES_CLASS_MIN
    if not has_room(heap, HASH_POOL, hashes, hash_class):
        return HASH_POOL
    # Blocks double, so that four times as many cells are enough for all of the growth.
    affinities_max = counters[row, AFFINITIES] + event[ITEM_TO] - event[ITEM_FROM]
    if heap[AFFINITY_POOL, TOP] + 4 * (affinities_max + 1) > len(codes):
        return AFFINITY_POOL
    return NO_POOL


@inlined_bare
def is_for_slow_path(table: Table, row: int, event: Cells, settings: Cells) -> bool:
    """Whether an event would join sessions with more decisions than a cell has place for."""
    counters, sessions, _, _, _, _, _, _, _ = table
    if counters[row, OPEN_SESSIONS] < 2:
        return False
    decisions = decisions_to_join(
        counters, sessions, row, event[AT_MS], event[WATERMARK_MS], settings[GAP_MS]
    )
    return bool(decisions > DECISIONS_MAX)


@inlined_bare
def begin_shopper(
    table: Table, row: int, number: int, event: Cells, settings: Cells, outputs: Outputs
) -> None:
    """Note that a shopper is active and how it was before, and begin a new one."""
    counters, sessions, _, _, _, _, _, _, _ = table
    _, active, before, _, _, _, _, _, totals = outputs
    place = totals[ACTIVE_COUNT]
    if counters[row, ACTIVE_BATCH] != settings[BATCH]:
        counters[row, ACTIVE_BATCH] = settings[BATCH]
        active[place, ACTIVE_ROW] = row
        active[place, FIRST_EVENT] = number
        active[place, PREVIOUS_MS] = counters[row, LAST_MS] if counters[row, EVENTS] else -1
        for column in range(PROFILE_COLUMNS):
            before[place, column] = counters[row, column]
        newest = counters[row, SESSIONS_AT] + counters[row, OPEN_SESSIONS] - 1
        for column in range(DECISIONS):
            before[place, PROFILE_COLUMNS + column] = sessions[max(newest, 0), column]
        totals[ACTIVE_COUNT] = place + 1
    if counters[row, EVENTS] == 0:
        counters[row, FIRST_MS] = event[AT_MS]
        counters[row, LAST_MS] = event[AT_MS]
        totals[NEW_SHOPPERS] += 1


@inlined_bare
def find_session(table: Table, row: int, event: Cells, gap_ms: int, totals: Cells) -> int:
    """The session of an event; an event older than the watermark is late."""
    counters, sessions, _, _, _, heap, ends_ms, _, _ = table
    at_ms, watermark_ms = event[AT_MS], event[WATERMARK_MS]
    if at_ms < watermark_ms:
        counters[row, LATE] += 1
        totals[LATE_EVENTS] += 1
    sessions_before = counters[row, SESSIONS]
    cell = enter_session(counters, sessions, heap, row, at_ms, watermark_ms, gap_ms)
    totals[OPENED] += counters[row, SESSIONS] - sessions_before
    if counters[row, SESSIONS] > sessions_before:
        ends_ms[row] = min(ends_ms[row], at_ms + gap_ms)
    return int(cell)


@inlined_bare
def add_items(
    table: Table, row: int, event: Cells, items: Cells, settings: Cells, reals: Reals
) -> None:
    """Count the affinities and the viewed prices of an event."""
    counters, _, _, _, _, _, _, _, _ = table
    for item in range(event[ITEM_FROM], event[ITEM_TO]):
        code = items[item, CATEGORY]
        if code:
            add_affinity(table, reals, row, code, event[AT_MS], settings[AFFINITIES_MAX])
        if event[TYPE] == ITEM_VIEW and items[item, PRICE_MICROS] != NO_PRICE:
            add_viewed_price(counters, row, items[item, PRICE_MICROS])
