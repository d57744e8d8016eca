"""What models and rules see of a shopper at an event. See `shards.observations` and `segments.rules`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import inlined_bare
from operators.kernels.fold_affinities import top_affinity
from operators.kernels.fold_profile import write_features
from operators.kernels.fold_sessions import NO_SESSION, add_decision
from operators.kernels.shopper_columns import (
    AT_MS,
    DECISION_COUNT,
    DECISION_TICKS,
    EVENTS,
    FEATURES_UNTIL_MS,
    HAS_FEATURES,
    HASH,
    IDLE_MS,
    KNOWN,
    KNOWN_IDLE_MS,
    KNOWN_MS,
    LAST_MS,
    OBSERVATION_COUNT,
    OBSERVED_EVENT,
    PURCHASE,
    REACHED_MS,
    SESSION_PURCHASES,
    TICK_MS,
    TICK_PHASE,
    TYPE,
)

if TYPE_CHECKING:
    from operators.kernels.shopper_columns import Cells, Outputs, Table


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
    _, _, _, _, _, observations, features, totals = outputs
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
    _, _, _, decided, features, _, _, totals = outputs
    add_decision(sessions, cell, event[HASH], sessions[cell, SESSION_PURCHASES])
    _, share = top_affinity(table, row)
    place = totals[DECISION_COUNT]
    write_features(counters, sessions, row, cell, share, features[place])
    decided[place] = number
    totals[DECISION_COUNT] = place + 1
