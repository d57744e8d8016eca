"""Sequences of segment rules: whether events came one after the other, and until when that is true.

Of each event of a step it is known when the chains that lead to it began at the latest. Later events
of the step before began later and are nearer, so one pass over each step is enough.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import inlined_bare
from operators.kernels.rule_layout import (
    FOREVER,
    LENGTH_MASK,
    LENGTH_SHIFT,
    START_SHIFT,
    STEP_ENTRIES_MAX,
    WINDOWS_AT,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

STEPS, WITHIN_MS, QUIET_MS, ABSENT_KIND, STEPS_AT = range(5)
"""A sequence in a program; then come for each step its window, and how long after the step before it
may be."""
STEP_KIND, STEP_SPAN_MS, STEP_SIZE = range(3)
_TIMES, _ENDS, _BEGINS = 0, STEP_ENTRIES_MAX, 2 * STEP_ENTRIES_MAX
"""Where in `scratch`: the times of a step, the ends of chains, and when each began."""


@inlined_bare
def length_of(window: int) -> int:
    """How many entries a window has."""
    return (window >> LENGTH_SHIFT) & LENGTH_MASK


@inlined_bare
def _times_of(pool: Numbers, window: int, scratch: Numbers) -> int:
    """Copy the times of a window without keys; how many they are."""
    start = window >> START_SHIFT
    count = length_of(window)
    for n in range(count):
        scratch[_TIMES + n] = pool[start + n]
    return count


@inlined_bare
def _times_of_item(pool: Numbers, window: int, item: int, scratch: Numbers) -> int:
    """Copy the times at which an item came; how many they are."""
    start = window >> START_SHIFT
    count = 0
    for n in range(length_of(window)):
        if pool[start + 2 * n + 1] == item:
            scratch[_TIMES + count] = pool[start + 2 * n]
            count += 1
    return count


@inlined_bare
def _begin_chains(scratch: Numbers, count: int, since_ms: int) -> int:
    """Begin a chain with each event of the first step after a time; how many they are."""
    chains = 0
    for n in range(count):
        at_ms = scratch[_TIMES + n]
        if at_ms > since_ms:
            scratch[_ENDS + chains] = at_ms
            scratch[_BEGINS + chains] = at_ms
            chains += 1
    return chains


@inlined_bare
def _extend_chains(scratch: Numbers, count: int, chains: int, span_ms: int) -> int:
    """Extend chains by the events of the next step; how many go on.

    Each event extends the newest chain before it, if that is near enough. The new chains are put
    behind the old ones, which are still needed.
    """
    extended = 0
    before = 0
    for n in range(count):
        at_ms = scratch[_TIMES + n]
        while before < chains and scratch[_ENDS + before] < at_ms:
            before += 1
        if before > 0 and at_ms <= scratch[_ENDS + before - 1] + span_ms:
            begin_ms = scratch[_BEGINS + before - 1]
            scratch[_BEGINS + STEP_ENTRIES_MAX + extended] = at_ms
            scratch[_BEGINS + 2 * STEP_ENTRIES_MAX + extended] = begin_ms
            extended += 1
    for n in range(extended):
        scratch[_ENDS + n] = scratch[_BEGINS + STEP_ENTRIES_MAX + n]
        scratch[_BEGINS + n] = scratch[_BEGINS + 2 * STEP_ENTRIES_MAX + n]
    return extended


@inlined_bare
def _answer(
    program: Numbers, at: int, scratch: Numbers, chains: int, absent_ms: int, now_ms: int
) -> int:
    """The answer from the chains that are whole."""
    within_ms: int = program[at + WITHIN_MS]
    quiet_ms: int = program[at + QUIET_MS]
    if quiet_ms < 0:
        if chains == 0:
            return -FOREVER
        began_ms: int = scratch[_BEGINS + chains - 1]
        return began_ms + within_ms
    soonest_ms = FOREVER
    for n in range(chains - 1, -1, -1):
        end_ms = scratch[_ENDS + n]
        if end_ms <= absent_ms:
            break
        until_ms: int = scratch[_BEGINS + n] + within_ms
        if end_ms + quiet_ms <= now_ms:
            return until_ms
        if end_ms + quiet_ms < until_ms:
            soonest_ms = end_ms + quiet_ms
    return -soonest_ms


@inlined_bare
def sequence(
    program: Numbers, at: int, rows: Numbers, row: int, now_ms: int, pool: Numbers, scratch: Numbers
) -> int:
    """The answer for a sequence of events of any items."""
    windows_at = program[WINDOWS_AT]
    absent_ms = -1
    if program[at + ABSENT_KIND] >= 0:
        window = rows[row, windows_at + program[at + ABSENT_KIND]]
        if length_of(window) > 0:
            absent_ms = pool[(window >> START_SHIFT) + length_of(window) - 1]
    chains = 0
    for step in range(program[at + STEPS]):
        step_at = at + STEPS_AT + step * STEP_SIZE
        window = rows[row, windows_at + program[step_at + STEP_KIND]]
        count = _times_of(pool, window, scratch)
        if step == 0:
            chains = _begin_chains(scratch, count, now_ms - program[at + WITHIN_MS])
        else:
            chains = _extend_chains(scratch, count, chains, program[step_at + STEP_SPAN_MS])
        if chains == 0:
            return -FOREVER
    return _answer(program, at, scratch, chains, absent_ms, now_ms)


@inlined_bare
def _newest_of_key(pool: Numbers, window: int, key: int) -> int:
    """When a key came last; -1 if it never came."""
    start = window >> START_SHIFT
    newest_ms = -1
    for n in range(length_of(window)):
        if pool[start + 2 * n + 1] == key:
            newest_ms = pool[start + 2 * n]
    return newest_ms


@inlined_bare
def _of_one_item(
    program: Numbers,
    at: int,
    rows: Numbers,
    row: int,
    item: int,
    now_ms: int,
    pool: Numbers,
    scratch: Numbers,
) -> int:
    """The answer for the events of one item."""
    windows_at = program[WINDOWS_AT]
    absent_ms = -1
    if program[at + ABSENT_KIND] >= 0:
        absent_ms = _newest_of_key(pool, rows[row, windows_at + program[at + ABSENT_KIND]], item)
    chains = 0
    for step in range(program[at + STEPS]):
        step_at = at + STEPS_AT + step * STEP_SIZE
        window = rows[row, windows_at + program[step_at + STEP_KIND]]
        count = _times_of_item(pool, window, item, scratch)
        if step == 0:
            chains = _begin_chains(scratch, count, now_ms - program[at + WITHIN_MS])
        else:
            chains = _extend_chains(scratch, count, chains, program[step_at + STEP_SPAN_MS])
        if chains == 0:
            return -FOREVER
    return _answer(program, at, scratch, chains, absent_ms, now_ms)


@inlined_bare
def sequence_of_item(
    program: Numbers, at: int, rows: Numbers, row: int, now_ms: int, pool: Numbers, scratch: Numbers
) -> int:
    """The answer for a sequence of events of the same item, whatever item it is."""
    first_kind = program[at + STEPS_AT + STEP_KIND]
    window = rows[row, program[WINDOWS_AT] + first_kind]
    start = window >> START_SHIFT
    answer = -FOREVER
    count = length_of(window)
    for n in range(count):
        item = pool[start + 2 * n + 1]
        # Each item once: with the newest of its events.
        is_newest = True
        for later in range(n + 1, count):
            if pool[start + 2 * later + 1] == item:
                is_newest = False
                break
        if is_newest:
            of_item = _of_one_item(program, at, rows, row, item, now_ms, pool, scratch)
            answer = max(answer, of_item)
    return answer
