"""Sessions of shoppers by array operations: the plain form of their kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import ascending_order, run_starts
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Times


def append_items(
    shopper: Rows, item: Rows, at_ms: Times, session_start_ms: Times, recent: Rows, last_ms: Times
) -> Rows:
    """Change `recent` and `last_ms`; the items before each event."""
    n, length = len(shopper), recent.shape[1]
    order = ascending_order(shopper)
    first = run_starts(shopper[order])
    rows = shopper[order[first]]
    group = np.repeat(np.arange(len(first)), np.diff(first, append=n))
    # One tape: for each shopper the stored items, oldest first, then the batch's events.
    tape = np.empty(len(first) * length + n, np.int32)
    tape_ms = np.empty(len(tape), np.int64)
    position = np.arange(n) + (group + 1) * length
    remembered = (first + np.arange(len(first)) * length)[:, None] + np.arange(length)
    tape[remembered] = recent[rows, ::-1]
    tape_ms[remembered] = last_ms[rows, None]
    tape[position], tape_ms[position] = item[order], at_ms[order]
    previous = position[:, None] - np.arange(1, length + 1)
    in_order = np.where(tape_ms[previous] >= session_start_ms[order, None], tape[previous], NO_ROW)
    last = np.append(first[1:], n) - 1
    recent[rows, 0] = item[order[last]]
    recent[rows, 1:] = in_order[last, :-1]
    last_ms[rows] = np.maximum(last_ms[rows], np.maximum.reduceat(at_ms[order], first))
    context = np.empty((n, length), np.int32)
    context[order] = in_order
    return context


def record_visits(
    item: Rows, shopper: Rows, previous: Rows, visitor: Rows, visits: NDArray[np.int64]
) -> None:
    """Add the visits to the rings of their items."""
    is_new = ~(previous == item[:, None]).any(axis=1)
    item, shopper, places = item[is_new], shopper[is_new], visitor.shape[1]
    order = ascending_order(item)
    item, shopper = item[order], shopper[order]
    first = run_starts(item)
    count = np.diff(first, append=len(item))
    rank = np.arange(len(item)) - np.repeat(first, count)
    is_kept = rank >= np.repeat(count, count) - places
    slot = (visits[item] + rank) % places
    visitor[item[is_kept], slot[is_kept]] = shopper[is_kept]
    visits[item[first]] += count
