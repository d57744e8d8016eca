"""Works off a log of what happened to shoppers: windows, rules that may change, timers, transitions.

Two kernels: `process_log` takes operations in order, `advance_rows` lets time pass for all rows. Both
stop before an operation for which there may be no room, and say where to go on; the caller makes room
and calls again. An operation that is taken up a second time does nothing twice: its timers come first
and are gone.

Kernels change the arrays that they are given in place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import inlined_bare, kernel
from operators.kernels.rule_conditions import answer_of
from operators.kernels.rule_layout import (
    ADDITIONS_END,
    ADVANCE,
    ALL_RULES,
    AT_MS,
    BECOMES_NO,
    BECOMES_YES,
    BEGINS_SESSION,
    BLOCK_BITS,
    CHANGED_RULES,
    CLOCK_MS,
    COLUMN_COUNT,
    COLUMNS_AT,
    DUE_AT,
    EVALUATE_ALL,
    EVALUATE_CHANGED,
    EVENT,
    EVENT_TYPE,
    FIRST_EVENT,
    FIRST_FLAG_SOURCE,
    FIRST_MS_COLUMN,
    FLAG_SOURCES,
    FLAGS,
    FOREVER,
    HEAP_TOP,
    HEAP_TRANSITIONS,
    LAST_MS_COLUMN,
    LOG_HEAD,
    NOTHING,
    OPERATION,
    RECHECK_ALL,
    ROW,
    RULE_COUNT,
    SESSION_BEGINS,
    SHOPPER_WORDS,
    SINCE_AT,
    SLOTS_PER_EVENT,
    SOURCES_AT,
    THRESHOLDS_AT,
    TRANSITION_ENTERED,
    TRANSITION_MS,
    TRANSITION_ROW,
    TRANSITION_RULE,
    TRIGGERS_AT,
    TYPE_SOURCES_AT,
    WANTED_AT,
)
from operators.kernels.rule_windows import add_entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]
    Table = NDArray[np.int64]


@inlined_bare
def _want(program: Numbers, source: int, scratch: Numbers) -> None:
    """Have the rules of a source evaluated."""
    triggers_at, wanted_at = program[TRIGGERS_AT], program[WANTED_AT]
    sources_at = program[SOURCES_AT] + source
    for n in range(program[sources_at], program[sources_at + 1]):
        scratch[wanted_at + program[triggers_at + 2 * n]] |= program[triggers_at + 2 * n + 1]


@inlined_bare
def _want_at_thresholds(
    program: Numbers, event_type: int, rows: Table, row: int, scratch: Numbers
) -> None:
    """Have the rules evaluated that compare a count with the number that it has now."""
    columns_at, wanted_at = program[COLUMNS_AT], program[WANTED_AT]
    index_at = program[THRESHOLDS_AT] + event_type
    for at in range(program[index_at], program[index_at + 1], 4):
        if rows[row, columns_at + program[at]] == program[at + 1]:
            scratch[wanted_at + program[at + 2]] |= program[at + 3]


@inlined_bare
def _set_next_check(next_check: Numbers, earliest: Numbers, row: int, at_ms: int) -> None:
    next_check[row] = at_ms
    if at_ms > 0:
        block = row >> BLOCK_BITS
        earliest[block] = min(earliest[block], at_ms)


@inlined_bare
def _evaluate_rule(
    program: Numbers,
    rule: int,
    rows: Table,
    row: int,
    now_ms: int,
    pool: Numbers,
    heap: Numbers,
    transitions: Table,
    scratch: Numbers,
) -> int:
    """Evaluate one rule and record what changes; until when the answer holds."""
    since = program[SINCE_AT] + rule
    until_ms = answer_of(program, rule, rows, row, now_ms, pool, scratch)
    is_in = rows[row, since] != NOTHING
    holds = until_ms > 0
    if holds != is_in:
        rows[row, since] = now_ms if holds else NOTHING
        count = heap[HEAP_TRANSITIONS]
        transitions[count, TRANSITION_ROW] = row
        transitions[count, TRANSITION_RULE] = rule
        transitions[count, TRANSITION_ENTERED] = 1 if holds else 0
        transitions[count, TRANSITION_MS] = now_ms
        heap[HEAP_TRANSITIONS] = count + 1
    return until_ms if holds else -until_ms


@inlined_bare
def _evaluate_wanted(
    program: Numbers,
    rows: Table,
    row: int,
    now_ms: int,
    next_check: Numbers,
    earliest: Numbers,
    pool: Numbers,
    heap: Numbers,
    transitions: Table,
    scratch: Numbers,
) -> None:
    """Evaluate the rules that are wanted, in order, and set timers where time alone changes an answer.

    Where something can only make the answer yes or only no, a rule whose answer is that already is not
    evaluated. A timer that is too early does no harm: it evaluates the rule and is set again.
    """
    since_at, due_at, wanted_at = program[SINCE_AT], program[DUE_AT], program[WANTED_AT]
    for rule in range(program[RULE_COUNT]):
        wanted = scratch[wanted_at + rule]
        if wanted == 0:
            continue
        scratch[wanted_at + rule] = 0
        is_in = rows[row, since_at + rule] != NOTHING
        if (wanted == BECOMES_YES and is_in) or (wanted == BECOMES_NO and not is_in):
            continue
        until_ms = _evaluate_rule(
            program, rule, rows, row, now_ms, pool, heap, transitions, scratch
        )
        if until_ms != FOREVER:
            due_ms = rows[row, due_at + rule]
            if due_ms == 0 or until_ms < due_ms:
                rows[row, due_at + rule] = until_ms
                if until_ms < next_check[row] or next_check[row] <= 0:
                    _set_next_check(next_check, earliest, row, until_ms)


@inlined_bare
def _want_due(program: Numbers, rows: Table, row: int, now_ms: int, scratch: Numbers) -> int:
    """Have the rules that are due evaluated; when the next of the others is due, 0 for never."""
    due_at, wanted_at = program[DUE_AT], program[WANTED_AT]
    next_ms = FOREVER
    for rule in range(program[RULE_COUNT]):
        due_ms = rows[row, due_at + rule]
        if due_ms == 0:
            continue
        if due_ms <= now_ms:
            rows[row, due_at + rule] = 0
            scratch[wanted_at + rule] = BECOMES_YES | BECOMES_NO
        elif due_ms < next_ms:
            next_ms = due_ms
    return 0 if next_ms == FOREVER else next_ms


@inlined_bare
def _fire_timers(
    program: Numbers,
    rows: Table,
    row: int,
    clock_ms: int,
    next_check: Numbers,
    earliest: Numbers,
    pool: Numbers,
    heap: Numbers,
    transitions: Table,
    scratch: Numbers,
) -> bool:
    """Evaluate the rules of a shopper that are due, in the order in which they are due.

    False where there is no room for more transitions.
    """
    while 0 < next_check[row] <= clock_ms:
        if heap[HEAP_TRANSITIONS] + program[RULE_COUNT] > len(transitions):
            return False
        now_ms = next_check[row]
        next_ms = _want_due(program, rows, row, now_ms, scratch)
        _set_next_check(next_check, earliest, row, next_ms)
        _evaluate_wanted(
            program, rows, row, now_ms, next_check, earliest, pool, heap, transitions, scratch
        )
    return True


@inlined_bare
def _want_all(
    program: Numbers, rows: Table, row: int, next_check: Numbers, scratch: Numbers
) -> None:
    """Have every rule evaluated, and forget all timers."""
    due_at = program[DUE_AT]
    for rule in range(program[RULE_COUNT]):
        rows[row, due_at + rule] = 0
    next_check[row] = 0
    _want(program, ALL_RULES, scratch)


@inlined_bare
def _add_event(
    program: Numbers,
    rows: Table,
    log: Table,
    position: int,
    additions: Table,
    first_addition: int,
    now_ms: int,
    pool: Numbers,
    heap: Numbers,
    scratch: Numbers,
) -> None:
    """Add an event to the windows that it goes into, and have the rules evaluated that it may change."""
    row, at_ms, event_type = log[position, ROW], log[position, AT_MS], log[position, EVENT_TYPE]
    columns_at, flags = program[COLUMNS_AT], log[position, FLAGS]
    is_older = at_ms != rows[row, columns_at + program[LAST_MS_COLUMN]]
    _want(program, TYPE_SOURCES_AT + event_type, scratch)
    for n in range(first_addition, log[position, ADDITIONS_END]):
        kind = additions[n, 0]
        add_entry(program, rows, row, kind, at_ms, additions[n, 1], now_ms, pool, heap, scratch)
        _want(program, additions[n, 2] + (1 if is_older else 0), scratch)
    _want_at_thresholds(program, event_type, rows, row, scratch)
    if flags & BEGINS_SESSION:
        _want(program, SESSION_BEGINS, scratch)
    if at_ms == rows[row, columns_at + program[FIRST_MS_COLUMN]]:
        _want(program, FIRST_EVENT, scratch)
    flags >>= 1
    for n in range(FLAG_SOURCES):
        if (flags >> n) & 1:
            _want(program, FIRST_FLAG_SOURCE + n, scratch)


@inlined_bare
def _has_room(program: Numbers, transitions: Table, pool: Numbers, heap: Numbers) -> bool:
    """Whether there is room for all that one operation may add."""
    transitions_needed: int = heap[HEAP_TRANSITIONS] + program[RULE_COUNT]
    slots_needed: int = heap[HEAP_TOP] + program[SLOTS_PER_EVENT]
    return transitions_needed <= len(transitions) and slots_needed <= len(pool)


@kernel(
    "int64(int64[::1], int64[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1], int64[:, ::1],"
    " int64[:, ::1], int64, int64[:, ::1], int64[::1])",
    allocates=False,
)
def process_log(
    program: Numbers,
    rows: Table,
    next_check: Numbers,
    earliest: Numbers,
    pool: Numbers,
    heap: Numbers,
    log: Table,
    additions: Table,
    first: int,
    transitions: Table,
    scratch: Numbers,
) -> int:
    """Work off the operations of a log from one on; the one to go on with, its length if it is done."""
    words, columns = program[SHOPPER_WORDS], program[COLUMNS_AT] + program[COLUMN_COUNT]
    for position in range(first, len(log)):
        row, operation = log[position, ROW], log[position, OPERATION]
        clock_ms, at_ms = log[position, CLOCK_MS], log[position, AT_MS]
        timers_ms = max(clock_ms, at_ms - 1) if operation == EVENT else clock_ms
        if operation <= ADVANCE and not _fire_timers(
            program, rows, row, timers_ms, next_check, earliest, pool, heap, transitions, scratch
        ):
            return position
        if operation == ADVANCE:
            continue
        if not _has_room(program, transitions, pool, heap):
            return position
        for column in range(words, columns):
            rows[row, column] = log[position, LOG_HEAD + column - words]
        now_ms = clock_ms
        if operation == EVENT:
            now_ms = max(clock_ms, rows[row, program[COLUMNS_AT] + program[LAST_MS_COLUMN]])
            first_addition = log[position - 1, ADDITIONS_END] if position > 0 else 0
            _add_event(
                program, rows, log, position, additions, first_addition, now_ms, pool, heap, scratch
            )
        elif operation == EVALUATE_CHANGED:
            _want(program, CHANGED_RULES, scratch)
        if operation == EVALUATE_ALL or (operation == EVENT and next_check[row] == RECHECK_ALL):
            _want_all(program, rows, row, next_check, scratch)
        _evaluate_wanted(
            program, rows, row, now_ms, next_check, earliest, pool, heap, transitions, scratch
        )
    return len(log)


@kernel(
    "int64(int64[::1], int64[:, ::1], int64[::1], int64[::1], int64[::1], int64[::1], int64, int64,"
    " int64[:, ::1], int64[::1])",
    allocates=False,
)
def advance_rows(
    program: Numbers,
    rows: Table,
    next_check: Numbers,
    earliest: Numbers,
    pool: Numbers,
    heap: Numbers,
    clock_ms: int,
    first_block: int,
    transitions: Table,
    scratch: Numbers,
) -> int:
    """Advance the clock of all rows from a block on; the block to go on with, their number if done."""
    for block in range(first_block, len(earliest)):
        if earliest[block] > clock_ms:
            continue
        soonest_ms = FOREVER
        for row in range(block << BLOCK_BITS, min((block + 1) << BLOCK_BITS, len(next_check))):
            if 0 < next_check[row] <= clock_ms and not _fire_timers(
                program, rows, row, clock_ms, next_check, earliest, pool, heap, transitions, scratch
            ):
                return block
            if next_check[row] > 0:
                soonest_ms = min(soonest_ms, next_check[row])
        earliest[block] = soonest_ms
    return len(earliest)
