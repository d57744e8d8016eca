"""The windows of segment rules in one pool of numbers: an event is added, what is too old goes.

Entries are sorted by time, the newest last, and then by key or amount.
`operators.segments.rules.windows` says what each form keeps; its bytes are the stored form of the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.kernels.compiler import inlined_bare
from operators.kernels.rule_layout import (
    CLASS_MASK,
    HEAP_FREE,
    HEAP_TOP,
    ITEMS,
    KEYED,
    KIND_BUCKET_MS,
    KIND_ENTRIES_MAX,
    KIND_FORM,
    KIND_SIZE,
    KIND_WITHIN_MS,
    KINDS_AT,
    LENGTH_MASK,
    LENGTH_SHIFT,
    START_SHIFT,
    SUMS,
    SUMS_EXACT,
    SUMS_MAX,
    TIMES,
    WINDOWS_AT,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]

AMOUNT_MAX = (1 << 62) - 1
_NEW_ENTRIES_AT = 2 * (SUMS_MAX + 2)
"""Where in `scratch` bucketed sums are put together."""


@inlined_bare
def take_piece(pool: Numbers, heap: Numbers, size_class: int) -> int:
    """A free piece of the pool. The caller has made sure that there is room."""
    start: int = heap[HEAP_FREE + size_class]
    if start > 0:
        heap[HEAP_FREE + size_class] = pool[start]
        return start
    start = heap[HEAP_TOP]
    heap[HEAP_TOP] = start + (1 << size_class)
    return start


@inlined_bare
def free_piece(pool: Numbers, heap: Numbers, start: int, size_class: int) -> None:
    """Give a piece of the pool back."""
    pool[start] = heap[HEAP_FREE + size_class]
    heap[HEAP_FREE + size_class] = start


@inlined_bare
def resize(pool: Numbers, heap: Numbers, window: int, slots: int) -> int:
    """The same window in a piece that has so many slots; its number."""
    size_class = window & CLASS_MASK
    if window != 0 and (1 << size_class) >= slots:
        return window
    new_class = 0
    while (1 << new_class) < slots:
        new_class += 1
    new_start = take_piece(pool, heap, new_class)
    if window != 0:
        start = window >> START_SHIFT
        for n in range(1 << size_class):
            pool[new_start + n] = pool[start + n]
        free_piece(pool, heap, start, size_class)
    length = (window >> LENGTH_SHIFT) & LENGTH_MASK
    return (new_start << START_SHIFT) | (length << LENGTH_SHIFT) | new_class


@inlined_bare
def _insert_time(pool: Numbers, heap: Numbers, window: int, at_ms: int, entries_max: int) -> int:
    """Add a time, after those that are equal; the oldest goes if there are too many."""
    length = (window >> LENGTH_SHIFT) & LENGTH_MASK
    start = window >> START_SHIFT
    place = length
    while place > 0 and pool[start + place - 1] > at_ms:
        place -= 1
    if length >= entries_max:
        for n in range(place - 1):
            pool[start + n] = pool[start + n + 1]
        if place > 0:
            pool[start + place - 1] = at_ms
        return window
    window = resize(pool, heap, window, length + 1)
    start = window >> START_SHIFT
    for n in range(length, place, -1):
        pool[start + n] = pool[start + n - 1]
    pool[start + place] = at_ms
    return window + (1 << LENGTH_SHIFT)


@inlined_bare
def _drop_older_key(pool: Numbers, window: int, at_ms: int, key: int) -> int:
    """The window without a key that came before; -1 if it came at this time or later."""
    length = (window >> LENGTH_SHIFT) & LENGTH_MASK
    start = window >> START_SHIFT
    for n in range(length):
        if pool[start + 2 * n + 1] == key:
            if pool[start + 2 * n] >= at_ms:
                return -1
            for m in range(start + 2 * n, start + 2 * (length - 1)):
                pool[m] = pool[m + 2]
            return window - (1 << LENGTH_SHIFT)
    return window


@inlined_bare
def _insert_pair(
    pool: Numbers, heap: Numbers, window: int, at_ms: int, value: int, entries_max: int
) -> int:
    """Add a time with its key or amount; the oldest goes if there are too many."""
    length = (window >> LENGTH_SHIFT) & LENGTH_MASK
    start = window >> START_SHIFT
    place = length
    while place > 0:
        before_ms = pool[start + 2 * place - 2]
        if before_ms < at_ms or (before_ms == at_ms and pool[start + 2 * place - 1] <= value):
            break
        place -= 1
    if length >= entries_max:
        if place > 0:
            for n in range(start, start + 2 * place - 2):
                pool[n] = pool[n + 2]
            pool[start + 2 * place - 2] = at_ms
            pool[start + 2 * place - 1] = value
        return window
    window = resize(pool, heap, window, 2 * (length + 1))
    start = window >> START_SHIFT
    for n in range(start + 2 * length - 1, start + 2 * place - 1, -1):
        pool[n + 2] = pool[n]
    pool[start + 2 * place] = at_ms
    pool[start + 2 * place + 1] = value
    return window + (1 << LENGTH_SHIFT)


@inlined_bare
def _drop_outdated(pool: Numbers, window: int, until_ms: int) -> int:
    """The window without entries up to a time."""
    length = (window >> LENGTH_SHIFT) & LENGTH_MASK
    start = window >> START_SHIFT
    dropped = 0
    while dropped < length and pool[start + 2 * dropped] <= until_ms:
        dropped += 1
    if dropped > 0:
        for n in range(start, start + 2 * (length - dropped)):
            pool[n] = pool[n + 2 * dropped]
    return window - (dropped << LENGTH_SHIFT)


@inlined_bare
def _add_clamped(first: int, second: int) -> int:
    return min(max(first + second, -AMOUNT_MAX), AMOUNT_MAX)


@inlined_bare
def _fold_old_sums(pool: Numbers, window: int, bucket_ms: int, scratch: Numbers) -> int:
    """The window with all but its newest entries added up at the end of their bucket."""
    length = (window >> LENGTH_SHIFT) & LENGTH_MASK
    start = window >> START_SHIFT
    folded = 0
    for n in range(length - SUMS_EXACT):
        end_ms = 0
        if bucket_ms > 0:
            end_ms = (pool[start + 2 * n] // bucket_ms + 1) * bucket_ms - 1
        amount = pool[start + 2 * n + 1]
        if folded > 0 and scratch[2 * folded - 2] == end_ms:
            scratch[2 * folded - 1] = _add_clamped(scratch[2 * folded - 1], amount)
        else:
            scratch[2 * folded] = end_ms
            scratch[2 * folded + 1] = amount
            folded += 1
    exact = start + 2 * (length - SUMS_EXACT)
    end = start + 2 * length
    first = 0
    merged = 0
    while first < folded or exact < end:
        is_folded = exact >= end
        if first < folded and not is_folded:
            is_folded = scratch[2 * first] < pool[exact] or (
                scratch[2 * first] == pool[exact] and scratch[2 * first + 1] <= pool[exact + 1]
            )
        to = _NEW_ENTRIES_AT + 2 * merged
        if is_folded:
            scratch[to] = scratch[2 * first]
            scratch[to + 1] = scratch[2 * first + 1]
            first += 1
        else:
            scratch[to] = pool[exact]
            scratch[to + 1] = pool[exact + 1]
            exact += 2
        merged += 1
    for n in range(2 * merged):
        pool[start + n] = scratch[_NEW_ENTRIES_AT + n]
    return window - ((length - merged) << LENGTH_SHIFT)


@inlined_bare
def _add_amount(
    pool: Numbers,
    heap: Numbers,
    window: int,
    at_ms: int,
    amount: int,
    until_ms: int,
    bucket_ms: int,
    scratch: Numbers,
) -> int:
    """Add an amount; entries up to `until_ms` have left the window."""
    window = _drop_outdated(pool, window, until_ms)
    if at_ms > until_ms:
        window = _insert_pair(pool, heap, window, at_ms, amount, SUMS_MAX + 1)
    if ((window >> LENGTH_SHIFT) & LENGTH_MASK) > SUMS_MAX:
        window = _fold_old_sums(pool, window, bucket_ms, scratch)
    return window


@inlined_bare
def add_entry(
    program: Numbers,
    rows: Numbers,
    row: int,
    kind: int,
    at_ms: int,
    value: int,
    now_ms: int,
    pool: Numbers,
    heap: Numbers,
    scratch: Numbers,
) -> None:
    """Add an event to a window of a shopper, with its key or amount if the window keeps one."""
    kind_at = program[KINDS_AT] + kind * KIND_SIZE
    form = program[kind_at + KIND_FORM]
    entries_max = program[kind_at + KIND_ENTRIES_MAX]
    column = program[WINDOWS_AT] + kind
    window = rows[row, column]
    if form == TIMES:
        rows[row, column] = _insert_time(pool, heap, window, at_ms, entries_max)
    elif form == ITEMS:
        rows[row, column] = _insert_pair(pool, heap, window, at_ms, value, entries_max)
    elif form == KEYED:
        window = _drop_older_key(pool, window, at_ms, value)
        if window != -1:
            rows[row, column] = _insert_pair(pool, heap, window, at_ms, value, entries_max)
    elif form == SUMS:
        within_ms = program[kind_at + KIND_WITHIN_MS]
        until_ms = now_ms - within_ms if within_ms > 0 else -1
        bucket_ms = program[kind_at + KIND_BUCKET_MS]
        rows[row, column] = _add_amount(
            pool, heap, window, at_ms, value, until_ms, bucket_ms, scratch
        )
