"""What models and rules see of a shopper at an event. See `shards.observations` and `segments.rules`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare
from operators.kernels.fold_affinities import top_affinity
from operators.kernels.fold_profile import write_features
from operators.kernels.fold_sessions import NO_SESSION, add_decision
from operators.kernels.shopper_columns import (
    AT_MS,
    BEFORE_COLUMNS,
    DECISION_COUNT,
    DECISION_TICKS,
    END_MS,
    EVENTS,
    FEATURES_UNTIL_MS,
    GAP_MS,
    HAS_FEATURES,
    HAS_SESSION,
    HASH,
    IDLE_MS,
    KNOWN,
    KNOWN_IDLE_MS,
    KNOWN_MS,
    LAST_MS,
    LATENESS_MS,
    NO_SHARE,
    OBSERVATION_COUNT,
    OBSERVED_EVENT,
    OPEN_SESSIONS,
    PROFILE_COLUMNS,
    PURCHASE,
    REACHED_MS,
    SESSION_PURCHASES,
    SESSIONS_AT,
    TICK_MS,
    TICK_PHASE,
    TOP_CATEGORY,
    TYPE,
)

if TYPE_CHECKING:
    from operators.kernels.shopper_columns import Cells, Outputs, Table

_MICROS = 1_000_000


@inlined_bare
def _first_tick_ms(phase: int, from_ms: int, settings: Cells) -> int:
    """A shopper's first decision time at or after a time; see `propensity.decision_times`."""
    tick_ms = settings[TICK_MS]
    tick = -(-from_ms // tick_ms)
    return int((tick + (phase - tick) % settings[DECISION_TICKS]) * tick_ms)


@inlined_bare
def observe_event(
    table: Table, row: int, number: int, event: Cells, settings: Cells, outputs: Outputs
) -> None:
    """Note how a shopper was before an event, where a decision time lies in between, and orders."""
    counters, sessions, _, _, _, _, _, _, _ = table
    _, _, _, _, _, observations, features, _, totals = outputs
    at_ms, last_ms = event[AT_MS], counters[row, LAST_MS]
    known_ms = max(at_ms, event[REACHED_MS])
    is_order = event[TYPE] == PURCHASE
    if not is_order and -(-last_ms // settings[TICK_MS]) * settings[TICK_MS] >= known_ms:
        return
    until_ms, has_features = 0, 0
    if counters[row, EVENTS] == 0:
        until_ms = known_ms if at_ms < known_ms else 0
    else:
        idle_ms = settings[KNOWN_IDLE_MS] if counters[row, KNOWN] else settings[IDLE_MS]
        known_until_ms = min(known_ms, last_ms + idle_ms)
        if _first_tick_ms(counters[row, TICK_PHASE], last_ms, settings) < known_until_ms:
            until_ms, has_features = known_until_ms, 1
    if until_ms == 0 and not is_order:
        return
    place = totals[OBSERVATION_COUNT]
    if has_features:
        _, share = top_affinity(table, row)
        write_features(counters, sessions, row, NO_SESSION, share, features[place])
    observations[place, OBSERVED_EVENT] = number
    observations[place, KNOWN_MS] = known_ms
    observations[place, FEATURES_UNTIL_MS] = until_ms
    observations[place, HAS_FEATURES] = has_features
    totals[OBSERVATION_COUNT] = place + 1


@inlined_bare
def decide(table: Table, row: int, cell: int, number: int, event: Cells, outputs: Outputs) -> None:
    """Have the models of sessions decide at an event; the end of the session is the outcome."""
    counters, sessions, _, _, _, _, _, _, _ = table
    _, _, _, decided, features, _, _, _, totals = outputs
    add_decision(sessions, cell, event[HASH], sessions[cell, SESSION_PURCHASES])
    _, share = top_affinity(table, row)
    place = totals[DECISION_COUNT]
    write_features(counters, sessions, row, cell, share, features[place])
    decided[place] = number
    totals[DECISION_COUNT] = place + 1


@inlined_bare
def goes_on(table: Table, row: int, event: Cells, settings: Cells) -> bool:
    """Whether the session of a shopper goes on for rules at an event, which has not counted yet."""
    counters, sessions, _, _, _, _, _, _, _ = table
    count, reached_ms = counters[row, OPEN_SESSIONS], event[REACHED_MS]
    if count == 0:
        return False
    clock_ms = reached_ms + settings[LATENESS_MS] if reached_ms else 0
    newest_ms = max(clock_ms, event[AT_MS], counters[row, LAST_MS])
    end_ms = sessions[counters[row, SESSIONS_AT] + count - 1, END_MS]
    return bool(end_ms + settings[GAP_MS] >= newest_ms)


@inlined_bare
def _rule_column(table: Table, row: int, column: int) -> int:
    """A number of a shopper that rules compare."""
    counters, sessions, _, _, _, _, _, _, _ = table
    if column < PROFILE_COLUMNS:
        return int(counters[row, column])
    count = counters[row, OPEN_SESSIONS]
    if column < BEFORE_COLUMNS:
        newest = counters[row, SESSIONS_AT] + count - 1
        return int(sessions[newest, column - PROFILE_COLUMNS]) if count else 0
    if column == HAS_SESSION:
        return 1 if count else 0
    category, share = top_affinity(table, row)
    if column == TOP_CATEGORY:
        return int(category)
    return int(np.rint(share * _MICROS)) if category else NO_SHARE


@inlined_bare
def write_after(table: Table, row: int, columns: Cells, after: Cells) -> None:
    """Write what rules compare of a shopper, as an event has left it."""
    for place in range(len(columns)):
        after[place] = _rule_column(table, row, columns[place])
