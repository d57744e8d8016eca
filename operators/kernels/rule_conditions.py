"""The conditions of a segment rule as instructions, and what they answer for a shopper.

An answer is the time (ms) until which it holds if no event comes, negative where it is no: as in
`operators.segments.rules.conditions.base`, which says how conditions become instructions. Groups are
`all` and `any`; `not` is in the sign of the conditions below it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import inlined_bare
from operators.kernels.rule_layout import (
    AGE,
    AT_LEAST,
    BEGIN_ALL,
    BEGIN_ANY,
    CODE_AT,
    COLUMNS_AT,
    DIFFERENCE,
    END,
    FOREVER,
    GAP_MS,
    INSTRUCTION_SIZE,
    KIND_FORM,
    KIND_SIZE,
    KINDS_AT,
    NOTHING,
    NUMBER,
    QUOTIENT,
    RULES_AT,
    SEQUENCE,
    SEQUENCE_OF_ITEM,
    SESSION_DIFFERENCE,
    SESSION_INTENT,
    SESSION_LAST_COLUMN,
    SESSION_NUMBER,
    SESSIONS_COLUMN,
    START_SHIFT,
    STEP_ENTRIES_MAX,
    SUM,
    TIMES,
    TRUTH,
    WINDOWS_AT,
)
from operators.kernels.rule_sequences import length_of, sequence, sequence_of_item

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

GROUPS_AT = 5 * STEP_ENTRIES_MAX
"""Where in `scratch` the open groups are: the answer so far, whether it is `all`, where it ends."""
GROUP_SIZE = 3
TRUTH_BITS = 62
"""Truths in a word."""


@inlined_bare
def _within(value: int, low: int, high: int) -> int:
    return FOREVER if value != NOTHING and low <= value <= high else -FOREVER


@inlined_bare
def _number(program: Numbers, at: int, rows: Numbers, row: int) -> int:
    """A column, the difference of two, or a quotient; within the bounds or not."""
    columns_at = program[COLUMNS_AT]
    operation = program[at]
    value = rows[row, columns_at + program[at + 4]]
    if operation == DIFFERENCE:
        value -= rows[row, columns_at + program[at + 5]]
    elif operation == QUOTIENT:
        divisor = rows[row, columns_at + program[at + 5]]
        if program[at + 6] >= 0:
            divisor -= rows[row, columns_at + program[at + 6]]
        value = value * program[at + 7] // divisor if divisor > 0 else NOTHING
    return _within(value, program[at + 2], program[at + 3])


@inlined_bare
def _age(program: Numbers, at: int, rows: Numbers, row: int, now_ms: int) -> int:
    at_ms: int = rows[row, program[COLUMNS_AT] + program[at + 4]]
    low: int = program[at + 2]
    high: int = program[at + 3]
    if at_ms == 0:
        return -FOREVER
    age_ms = now_ms - at_ms
    if age_ms < low:
        return -(at_ms + low)
    if age_ms > high:
        return -FOREVER
    return FOREVER if high == FOREVER else at_ms + high + 1


@inlined_bare
def _session(program: Numbers, at: int, rows: Numbers, row: int, now_ms: int) -> int:
    """A number of the session that goes on; no between two sessions."""
    columns_at = program[COLUMNS_AT]
    if rows[row, columns_at + program[SESSIONS_COLUMN]] <= 0:
        return -FOREVER
    ends_ms = rows[row, columns_at + program[SESSION_LAST_COLUMN]] + program[GAP_MS]
    if ends_ms < now_ms:
        return -FOREVER
    value = rows[row, columns_at + program[at + 4]]
    operation = program[at]
    if operation == SESSION_DIFFERENCE:
        value -= rows[row, columns_at + program[at + 5]]
    elif operation == SESSION_INTENT:
        return ends_ms + 1 if (program[at + 2] >> value) & 1 else -FOREVER
    elif program[at + 5] >= 0:
        value = max(value, program[at + 5])
    return ends_ms + 1 if program[at + 2] <= value <= program[at + 3] else -FOREVER


@inlined_bare
def _at_least(
    program: Numbers, at: int, rows: Numbers, row: int, now_ms: int, pool: Numbers
) -> int:
    """Whether the newest `count` events all lie in the window: until the oldest of them leaves it."""
    kind, count, within_ms = program[at + 2], program[at + 3], program[at + 4]
    window = rows[row, program[WINDOWS_AT] + kind]
    length = length_of(window)
    if length < count:
        return -FOREVER
    if within_ms < 0:
        return FOREVER
    place = length - count
    form = program[program[KINDS_AT] + kind * KIND_SIZE + KIND_FORM]
    if form != TIMES:
        place *= 2
    leaves_ms = pool[(window >> START_SHIFT) + place] + within_ms
    return leaves_ms if leaves_ms > now_ms else -FOREVER


@inlined_bare
def _is_within(high_part: int, low_part: int, low: int, high: int) -> bool:
    """Whether a sum is within bounds; it is given in two parts, since it may exceed 64 bits."""
    high_part += low_part >> 32
    low_part &= 0xFFFFFFFF
    low_high, low_low = low >> 32, low & 0xFFFFFFFF
    high_high, high_low = high >> 32, high & 0xFFFFFFFF
    is_above = high_part > low_high or (high_part == low_high and low_part >= low_low)
    is_below = high_part < high_high or (high_part == high_high and low_part <= high_low)
    return is_above and is_below


@inlined_bare
def _sum(program: Numbers, at: int, rows: Numbers, row: int, now_ms: int, pool: Numbers) -> int:
    low, high = program[at + 2], program[at + 3]
    within_ms = program[at + 5]
    window = rows[row, program[WINDOWS_AT] + program[at + 4]]
    start = window >> START_SHIFT
    end = start + 2 * length_of(window)
    first = start
    while within_ms >= 0 and first < end and pool[first] + within_ms <= now_ms:
        first += 2
    high_part, low_part = 0, 0
    for n in range(first, end, 2):
        high_part += pool[n + 1] >> 32
        low_part += pool[n + 1] & 0xFFFFFFFF
    answer = _is_within(high_part, low_part, low, high)
    until_ms = FOREVER
    if within_ms >= 0:
        for n in range(first, end, 2):
            if pool[n] + within_ms > until_ms:
                break
            high_part -= pool[n + 1] >> 32
            low_part -= pool[n + 1] & 0xFFFFFFFF
            if _is_within(high_part, low_part, low, high) != answer:
                until_ms = pool[n] + within_ms
    return until_ms if answer else -until_ms


@inlined_bare
def _condition(
    program: Numbers, at: int, rows: Numbers, row: int, now_ms: int, pool: Numbers, scratch: Numbers
) -> int:
    """What one condition answers."""
    operation = program[at]
    answer = FOREVER
    if operation == TRUTH:
        truth = program[at + 2]
        answer = (
            FOREVER if (rows[row, truth // TRUTH_BITS] >> (truth % TRUTH_BITS)) & 1 else -FOREVER
        )
    elif NUMBER <= operation <= QUOTIENT:
        answer = _number(program, at, rows, row)
    elif operation == AGE:
        answer = _age(program, at, rows, row, now_ms)
    elif SESSION_NUMBER <= operation <= SESSION_INTENT:
        answer = _session(program, at, rows, row, now_ms)
    elif operation == AT_LEAST:
        answer = _at_least(program, at, rows, row, now_ms, pool)
    elif operation == SUM:
        answer = _sum(program, at, rows, row, now_ms, pool)
    elif operation == SEQUENCE:
        answer = sequence(program, program[at + 2], rows, row, now_ms, pool, scratch)
    elif operation == SEQUENCE_OF_ITEM:
        answer = sequence_of_item(program, program[at + 2], rows, row, now_ms, pool, scratch)
    return -answer if program[at + 1] else answer


@inlined_bare
def answer_of(
    program: Numbers,
    rule: int,
    rows: Numbers,
    row: int,
    now_ms: int,
    pool: Numbers,
    scratch: Numbers,
) -> int:
    """What a rule answers for a shopper at a moment of its clock.

    A group ends with its first part that decides it: a no in `all`, a yes in `any`. Otherwise its
    answer is the least or the greatest of its parts.
    """
    at = program[CODE_AT] + program[program[RULES_AT] + rule] * INSTRUCTION_SIZE
    groups = GROUPS_AT
    while True:
        operation = program[at]
        if operation <= BEGIN_ANY:
            scratch[groups] = FOREVER if operation == BEGIN_ALL else -FOREVER
            scratch[groups + 1] = operation
            scratch[groups + 2] = program[CODE_AT] + program[at + 2] * INSTRUCTION_SIZE
            groups += GROUP_SIZE
            at += INSTRUCTION_SIZE
            continue
        answer: int
        if operation == END:
            groups -= GROUP_SIZE
            answer = scratch[groups]
        else:
            answer = _condition(program, at, rows, row, now_ms, pool, scratch)
        at += INSTRUCTION_SIZE
        while groups > GROUPS_AT:
            group = groups - GROUP_SIZE
            is_all = scratch[group + 1] == BEGIN_ALL
            if (answer < 0) == is_all:
                groups = group
                at = scratch[group + 2] + INSTRUCTION_SIZE
                continue
            so_far = scratch[group]
            scratch[group] = min(so_far, answer) if is_all else max(so_far, answer)
            break
        if groups == GROUPS_AT:
            return answer
