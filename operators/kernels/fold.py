"""Folds a batch of plain events into the shopper table: duplicates, sessions, profiles, affinities.

One call a batch. The order of the steps is that of `shards.processor`, which is the slow path; a change
in one belongs into the other. An event that needs more than is here is left to the slow path, with all
later ones of its shopper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import inlined_bare, kernel
from operators.kernels.fold_affinities import top_affinity
from operators.kernels.fold_events import (
    add_items,
    begin_shopper,
    find_lacking_pool,
    find_session,
    is_for_slow_path,
    is_remembered,
    remember,
)
from operators.kernels.fold_observations import decide, goes_on, observe_event, write_after
from operators.kernels.fold_profile import (
    add_to_profile,
    add_to_session,
    is_saturated,
    observe_absence,
    write_features,
)
from operators.kernels.fold_sessions import NO_SESSION
from operators.kernels.shopper_columns import (
    ABSENCE_MS,
    ACCEPTED,
    AT_MS,
    BATCH,
    BEGINS_SESSION,
    CART_ADD,
    CART_REMOVE,
    COUNTED,
    DECISION_TICKS,
    DUPLICATE,
    DUPLICATES,
    GAP_MS,
    GOODS_MICROS,
    HASH,
    HASHES_MAX,
    ITEM_VIEW,
    LACKING_POOL,
    LEFT,
    LEFT_BATCH,
    NO_POOL,
    OPEN_SESSIONS,
    OUTCOME,
    OUTPUTS_TYPE,
    PURCHASE,
    ROW,
    SAMPLE_OF_256,
    SATURATED,
    SESSION_START_MS,
    SESSIONS,
    SESSIONS_AT,
    START_MS,
    TABLE_TYPE,
    TYPE,
    WISHLIST_ADD,
)

if TYPE_CHECKING:
    from operators.kernels.shopper_columns import Cells, Outputs, Reals, Table

ALL_DONE = -1


@inlined_bare
def _find_outcome(table: Table, row: int, event: Cells, settings: Cells) -> int:
    """Whether an event counts, was counted before, or is left to the slow path."""
    counters, _, hashes, _, _, _, _, _, _ = table
    if counters[row, LEFT_BATCH] == settings[BATCH]:
        return LEFT
    if is_remembered(counters, hashes, row, event[HASH]):
        return DUPLICATE
    if is_for_slow_path(table, row, event, settings):
        counters[row, LEFT_BATCH] = settings[BATCH]
        return LEFT
    return COUNTED


@inlined_bare
def _count_event(
    table: Table,
    items: Cells,
    settings: Cells,
    reals: Reals,
    outputs: Outputs,
    number: int,
    row: int,
    event: Cells,
) -> None:
    """Add an event to the session, the profile and the affinities of its shopper, in this order."""
    counters, sessions, _, _, _, _, _, text, begin = table
    results, _, _, _, _, _, _, _, totals = outputs
    at_ms, event_type = event[AT_MS], event[TYPE]
    cell = find_session(table, row, event, settings[GAP_MS], totals)
    add_to_profile(counters, text, begin, row, event, cell != NO_SESSION)
    results[number, SESSION_START_MS] = at_ms
    if cell != NO_SESSION:
        results[number, SESSION_START_MS] = sessions[cell, START_MS]
        add_to_session(sessions, cell, event_type, event[GOODS_MICROS])
    if event_type in (CART_ADD, CART_REMOVE, PURCHASE):
        totals[SATURATED] += is_saturated(counters, sessions, row, cell)
    # A model decides about the shopper with this event, and before its affinities.
    if cell != NO_SESSION and (event[HASH] & 255) < settings[SAMPLE_OF_256]:
        decide(table, row, cell, number, event, outputs)
    if event_type in (ITEM_VIEW, CART_ADD, PURCHASE, WISHLIST_ADD):
        add_items(table, row, event, items, settings, reals)


@kernel(
    f"int64({TABLE_TYPE}, int64[:, ::1], int64[:, ::1], int64[::1], float64[::1], int64[::1],"
    f" {OUTPUTS_TYPE}, int64)",
    allocates=False,
)
def fold_events(
    table: Table,
    events: Cells,
    items: Cells,
    settings: Cells,
    reals: Reals,
    rule_columns: Cells,
    outputs: Outputs,
    start: int,
) -> int:
    """Fold events from number `start` on; ALL_DONE, or the first event for which a pool has no room.

    With each event the columns of its shopper that rules ask for are written, if there are any.
    """
    counters, _, hashes, _, _, heap, _, _, _ = table
    results, _, _, _, _, _, _, after, totals = outputs
    for number in range(start, len(events)):
        event = events[number]
        row = event[ROW]
        outcome = _find_outcome(table, row, event, settings)
        results[number, OUTCOME] = outcome
        totals[DUPLICATES] += outcome == DUPLICATE
        if outcome != COUNTED:
            continue
        totals[LACKING_POOL] = find_lacking_pool(table, row, event)
        if totals[LACKING_POOL] != NO_POOL:
            return number
        totals[ACCEPTED] += 1
        begin_shopper(table, row, number, event, settings, outputs)
        remember(counters, hashes, heap, row, event, settings[HASHES_MAX])
        if settings[DECISION_TICKS]:
            observe_event(table, row, number, event, settings, outputs)
        observe_absence(counters, row, event[AT_MS], settings[ABSENCE_MS])
        has_session, sessions_before = False, counters[row, SESSIONS]
        if len(rule_columns):
            has_session = goes_on(table, row, event, settings)
        _count_event(table, items, settings, reals, outputs, number, row, event)
        if len(rule_columns):
            # A late event may also reopen a session that had ended.
            begins = not has_session or counters[row, SESSIONS] != sessions_before
            results[number, BEGINS_SESSION] = begins
            write_after(table, row, rule_columns, after[number])
    return ALL_DONE


@kernel(f"void({TABLE_TYPE}, int64[::1], float64[:, ::1], int64[::1])", allocates=False)
def write_active(table: Table, rows: Cells, features: Reals, top_category: Cells) -> None:
    """Write the feature row and the top category of shoppers; the share is in the feature row."""
    counters, sessions, _, _, _, _, _, _, _ = table
    for place in range(len(rows)):
        row = rows[place]
        category, share = top_affinity(table, row)
        count = counters[row, OPEN_SESSIONS]
        newest = counters[row, SESSIONS_AT] + count - 1 if count else NO_SESSION
        write_features(counters, sessions, row, newest, share, features[place])
        top_category[place] = category
