"""The kernels that follow sessions: the items before each event, and who visited an item.

Their plain references: tests/reference/session_contexts.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import kernel
from operators.kernels.ranking.item_sums import NO_ROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Times


@kernel(
    "void(int64[::1], int32[::1], int32[::1], int64[::1], int64[::1], int32[:, ::1], int64[::1],"
    "int32[:, ::1])"
)
def append_items(
    order: NDArray[np.int64],
    shopper: Rows,
    item: Rows,
    at_ms: Times,
    session_start_ms: Times,
    recent: Rows,
    last_ms: Times,
    out_context: Rows,
) -> None:
    """Add events to the recent items of their shoppers, newest first, and write the items before each.

    `order` takes the events by shopper, those of one in order of arrival. An item counts for an event if
    it is not older than the start of the event's session; stored ones are as old as the shopper's last.
    """
    events, length = len(order), recent.shape[1]
    tape = np.empty(length + events, np.int32)
    tape_ms = np.empty(length + events, np.int64)
    start = 0
    while start < events:
        row, end = shopper[order[start]], start
        for place in range(length):
            tape[place], tape_ms[place] = recent[row, length - 1 - place], last_ms[row]
        newest_ms = last_ms[row]
        while end < events and shopper[order[end]] == row:
            event, top = order[end], length + end - start
            for place in range(length):
                before = top - 1 - place
                is_of_session = tape_ms[before] >= session_start_ms[event]
                out_context[event, place] = tape[before] if is_of_session else NO_ROW
            tape[top], tape_ms[top] = item[event], at_ms[event]
            newest_ms = max(newest_ms, at_ms[event])
            end += 1
        last = order[end - 1]
        recent[row, 0], last_ms[row] = item[last], newest_ms
        for place in range(1, length):
            recent[row, place] = out_context[last, place - 1]
        start = end


@kernel("void(int32[::1], int32[::1], int32[:, ::1], int32[:, ::1], int64[::1])", allocates=False)
def record_visits(
    item: Rows, shopper: Rows, previous: Rows, visitor: Rows, visits: NDArray[np.int64]
) -> None:
    """Add shoppers to the rings of visitors of their items, in order; `visits` counts all of an item.

    A visit counts where `previous`, what the shopper viewed before, does not have the item.
    """
    for event in range(len(item)):
        row, is_new = item[event], True
        for place in range(previous.shape[1]):
            is_new &= previous[event, place] != row
        if is_new:
            visitor[row, visits[row] % visitor.shape[1]] = shopper[event]
            visits[row] += 1
