"""The kernel of `operators.recommend.candidates.session_knn`: neighbours of a session, and their items.

Its plain reference: tests/reference/candidates.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare, kernel
from operators.kernels.ranking.item_sums import (
    NO_ROW,
    distinct_context,
    find,
    select_best,
    slots_for,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights


@inlined_bare
def _sum_neighbours(
    shopper: int,
    context: Rows,
    visitor: Rows,
    visits: NDArray[np.int64],
    age_weights: Weights,
    position_weights: Weights,
    slots: Rows,
    found: Rows,
    scores: Weights,
    largest: Weights,
    shared: Rows,
    times: Rows,
) -> int:
    """The visitors of the items of a session, their scores, and the shared item that adds most.

    Each visit of a shopper counts, as often as items of a session count at most. Returns how many
    shoppers there are.
    """
    count, ring, length = 0, visitor.shape[1], len(context)
    slots[:] = NO_ROW
    for position in range(length):
        item = context[position]
        if item < 0 or item >= len(visits):
            continue
        newest = (visits[item] - 1) % ring
        for place in range(ring):
            other = visitor[item, place]
            if other < 0 or other == shopper:
                continue
            age = newest - place
            if age < 0:
                age += ring
            score = age_weights[age] * position_weights[position]
            index = find(other, slots, found)
            if index < 0:
                slots[-1 - index] = count
                found[count], shared[count], times[count] = other, item, 1
                scores[count], largest[count] = score, score
                count += 1
            elif times[index] < length:
                times[index] += 1
                scores[index] += score
                if score > largest[index]:
                    largest[index], shared[index] = score, item
    return count


@inlined_bare
def _neighbour_weight(
    clicks: Rows, neighbour: int, shared: int, score: float
) -> tuple[int, np.float32]:
    """Where a neighbour first clicked the shared item, and how much the neighbour counts.

    0 for a neighbour whose row now is another shopper's, who shares nothing.
    """
    first, count = -1, 0
    for position in range(clicks.shape[1]):
        item = clicks[neighbour, position]
        if item >= 0:
            count += 1
        if item == shared:
            first = position
    if first < 0:
        return 0, np.float32(0)
    return first, np.float32(np.sqrt(score) / np.sqrt(np.float64(1 + count)))


@inlined_bare
def _sum_items(
    neighbours: Rows,
    neighbour_scores: Weights,
    shared: Rows,
    neighbour_count: int,
    clicks: Rows,
    distance_weights: Weights,
    slots: Rows,
    found: Rows,
    scores: Weights,
    further: Weights,
    reasons: Rows,
) -> int:
    """The items of neighbours, nearest first, their scores, and why; returns how many there are."""
    count = 0
    slots[:] = NO_ROW
    for nearest in range(neighbour_count):
        neighbour = neighbours[nearest]
        if neighbour >= len(clicks):
            continue
        first, weight = _neighbour_weight(
            clicks, neighbour, shared[nearest], neighbour_scores[nearest]
        )
        if not weight > 0:
            continue
        for position in range(clicks.shape[1]):
            item = clicks[neighbour, position]
            if item < 0:
                continue
            score = weight * distance_weights[first, position]
            index = find(item, slots, found)
            if index < 0:
                slots[-1 - index] = count
                found[count], reasons[count] = item, shared[nearest]
                scores[count], further[count] = score, np.float32(0)
                count += 1
            else:
                further[index] += score
    for index in range(count):
        scores[index] += further[index]
    return count


@kernel(
    "void(int32[::1], int32[:, ::1], int32[:, ::1], int64[::1], int32[:, ::1], float32[::1],"
    "float32[::1], float32[:, ::1], int64, int32[:, ::1], float32[:, ::1], int32[:, ::1])"
)
def session_knn(
    shopper: Rows,
    context: Rows,
    visitor: Rows,
    visits: NDArray[np.int64],
    clicks: Rows,
    age_weights: Weights,
    position_weights: Weights,
    distance_weights: Weights,
    neighbours_max: int,
    out_item: Rows,
    out_score: Weights,
    out_reason: Rows,
) -> None:
    """Write the k best items of the nearest neighbours of each session.

    `position_weights` has the items of a session that count, newest first; `age_weights` is by rank of
    a visit, newest first, `distance_weights` by position of the shared item and of the other.
    """
    length = len(position_weights)
    visitors_max = max(1, length * visitor.shape[1])
    items_max = max(1, neighbours_max * clicks.shape[1])
    own = np.empty(length, np.int32)
    slots, item_slots = (
        np.empty(slots_for(visitors_max), np.int32),
        np.empty(slots_for(items_max), np.int32),
    )
    found, shared, times = np.empty((3, visitors_max), np.int32)
    scores, largest = np.empty((2, visitors_max), np.float32)
    near, near_shared = np.empty((2, neighbours_max), np.int32)
    near_scores = np.empty(neighbours_max, np.float32)
    items, reasons = np.empty((2, items_max), np.int32)
    item_scores, further = np.empty((2, items_max), np.float32)
    for row in range(len(shopper)):
        distinct_context(context, row, length, own)
        count = _sum_neighbours(
            shopper[row], own, visitor, visits, age_weights, position_weights,
            slots, found, scores, largest, shared, times,
        )  # fmt: skip
        count = select_best(found, scores, shared, count, True, near, near_scores, near_shared)
        count = _sum_items(
            near, near_scores, near_shared, count, clicks, distance_weights,
            item_slots, items, item_scores, further, reasons,
        )  # fmt: skip
        select_best(
            items, item_scores, reasons, count, False,
            out_item[row], out_score[row], out_reason[row],
        )  # fmt: skip
