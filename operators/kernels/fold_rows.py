"""Single shoppers in the table: written whole, taken out, closed sessions. Not called in the fold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import inlined_bare, kernel
from operators.kernels.pools import allocate, release
from operators.kernels.shopper_columns import (
    AFFINITIES,
    AFFINITIES_AT,
    AFFINITIES_CLASS,
    AFFINITY_POOL,
    COLUMNS,
    DECISION_HASHES,
    DECISION_PURCHASES,
    DECISIONS,
    END_MS,
    HASH_POOL,
    HASHES,
    HASHES_AT,
    HASHES_CLASS,
    HASHES_CLASS_MIN,
    NEVER_MS,
    OPEN_SESSIONS,
    PROFILE_COLUMNS,
    SESSION_COLUMNS,
    SESSION_POOL,
    SESSION_PURCHASES,
    SESSIONS_AT,
    SESSIONS_CLASS,
    TABLE_TYPE,
    TICK_PHASE,
)

if TYPE_CHECKING:
    from operators.kernels.shopper_columns import Cells, Reals, Table


@inlined_bare
def _size_class(count: int) -> int:
    """The class of the smallest block for so many cells."""
    size_class = 0
    while 1 << size_class < count:
        size_class += 1
    return size_class


@inlined_bare
def first_end_ms(counters: Cells, sessions: Cells, row: int, gap_ms: int) -> int:
    """The last time at which an event would still belong to the session that ends first."""
    begin, end_ms = counters[row, SESSIONS_AT], NEVER_MS
    for cell in range(begin, begin + counters[row, OPEN_SESSIONS]):
        end_ms = min(end_ms, sessions[cell, END_MS] + gap_ms)
    return end_ms


@inlined_bare
def _store_affinities(table: Table, row: int, own_codes: Cells, own_weights: Reals) -> None:
    counters, _, _, codes, weights, heap, _, _, _ = table
    if len(own_codes) == 0:
        return
    size_class = _size_class(len(own_codes))
    begin = allocate(heap, AFFINITY_POOL, codes, size_class)
    counters[row, AFFINITIES_AT], counters[row, AFFINITIES_CLASS] = begin, size_class
    counters[row, AFFINITIES] = len(own_codes)
    for number in range(len(own_codes)):
        codes[begin + number, 0] = own_codes[number]
        weights[begin + number] = own_weights[number]


@kernel(
    f"void({TABLE_TYPE}, int64, int64[::1], int64[:, ::1], int64[:, ::1], int64[::1], float64[::1],"
    " int64)",
    allocates=False,
)
def store_row(
    table: Table,
    row: int,
    values: Cells,
    own_sessions: Cells,
    own_hashes: Cells,
    own_codes: Cells,
    own_weights: Reals,
    gap_ms: int,
) -> None:
    """Write a shopper into an empty row. `values` are its columns without the blocks, and
    the phase of its decision times. The caller has made room in the pools."""
    counters, sessions, hashes, _, _, heap, ends_ms, _, _ = table
    for column in range(PROFILE_COLUMNS):
        counters[row, column] = values[column]
    counters[row, TICK_PHASE] = values[PROFILE_COLUMNS]
    if len(own_sessions):
        size_class = _size_class(len(own_sessions))
        begin = allocate(heap, SESSION_POOL, sessions, size_class)
        counters[row, SESSIONS_AT], counters[row, SESSIONS_CLASS] = begin, size_class
        for number in range(len(own_sessions)):
            for column in range(SESSION_COLUMNS):
                sessions[begin + number, column] = own_sessions[number, column]
    if len(own_hashes):
        size_class = max(_size_class(len(own_hashes)), HASHES_CLASS_MIN)
        begin = allocate(heap, HASH_POOL, hashes, size_class)
        counters[row, HASHES_AT], counters[row, HASHES_CLASS] = begin, size_class
        counters[row, HASHES] = len(own_hashes)
        for number in range(len(own_hashes)):
            hashes[begin + number, 0] = own_hashes[number, 0]
            hashes[begin + number, 1] = own_hashes[number, 1]
    _store_affinities(table, row, own_codes, own_weights)
    ends_ms[row] = first_end_ms(counters, sessions, row, gap_ms)


@kernel(f"void({TABLE_TYPE}, int64)", allocates=False)
def free_row(table: Table, row: int) -> None:
    """Take a shopper out of its row."""
    counters, sessions, hashes, codes, _, heap, ends_ms, _, _ = table
    if counters[row, SESSIONS_AT]:
        release(
            heap, SESSION_POOL, sessions, counters[row, SESSIONS_AT], counters[row, SESSIONS_CLASS]
        )
    if counters[row, HASHES_AT]:
        release(heap, HASH_POOL, hashes, counters[row, HASHES_AT], counters[row, HASHES_CLASS])
    if counters[row, AFFINITIES_AT]:
        release(
            heap,
            AFFINITY_POOL,
            codes,
            counters[row, AFFINITIES_AT],
            counters[row, AFFINITIES_CLASS],
        )
    for column in range(COLUMNS):
        counters[row, column] = 0
    ends_ms[row] = NEVER_MS


@kernel(f"int64({TABLE_TYPE}, int64, int64, int64, int64[:, ::1], int64[::1])", allocates=False)
def find_expired(
    table: Table, rows: int, watermark_ms: int, gap_ms: int, found: Cells, next_ms: Cells
) -> int:
    """Write the shoppers with a session that no event in time can reach any more, each with the time at
    which the first of them ended; how many they are. `next_ms` becomes when the next one may end."""
    counters, sessions, _, _, _, _, ends_ms, _, _ = table
    count = 0
    next_ms[0] = NEVER_MS
    for row in range(rows):
        if ends_ms[row] < watermark_ms:
            # A session has gone on since this time was noted, or has ended.
            ends_ms[row] = first_end_ms(counters, sessions, row, gap_ms)
            if ends_ms[row] < watermark_ms:
                found[count, 0], found[count, 1] = ends_ms[row], row
                count += 1
        next_ms[0] = min(next_ms[0], ends_ms[row])
    return count


@inlined_bare
def _write_outcomes(
    sessions: Cells, cell: int, row: int, ended_ms: int, outcomes: Cells, count: int
) -> int:
    """Write what came of the decisions in a session; how many are written now."""
    for number in range(sessions[cell, DECISIONS]):
        until = sessions[cell, DECISION_PURCHASES + number]
        outcomes[count, 0] = row
        outcomes[count, 1] = cell
        outcomes[count, 2] = ended_ms
        outcomes[count, 3] = sessions[cell, DECISION_HASHES + number]
        outcomes[count, 4] = sessions[cell, SESSION_PURCHASES] > until
        count += 1
    return count


@kernel(f"int64({TABLE_TYPE}, int64[::1], int64, int64, int64[:, ::1])", allocates=False)
def close_sessions(
    table: Table, rows: Cells, watermark_ms: int, gap_ms: int, outcomes: Cells
) -> int:
    """Close the sessions of some shoppers that have ended; how many decisions they had.

    For each decision: the row, the session, the end of that, the hash of the event, and whether a
    purchase followed.
    """
    counters, sessions, _, _, _, heap, ends_ms, _, _ = table
    decisions = 0
    for place in range(len(rows)):
        row = rows[place]
        begin, kept = counters[row, SESSIONS_AT], 0
        for cell in range(begin, begin + counters[row, OPEN_SESSIONS]):
            ended_ms = sessions[cell, END_MS] + gap_ms
            if ended_ms >= watermark_ms:
                for column in range(SESSION_COLUMNS):
                    sessions[begin + kept, column] = sessions[cell, column]
                kept += 1
                continue
            decisions = _write_outcomes(sessions, cell, row, ended_ms, outcomes, decisions)
        counters[row, OPEN_SESSIONS] = kept
        ends_ms[row] = first_end_ms(counters, sessions, row, gap_ms)
        if kept == 0:
            release(heap, SESSION_POOL, sessions, begin, counters[row, SESSIONS_CLASS])
            counters[row, SESSIONS_AT] = 0
    return decisions
