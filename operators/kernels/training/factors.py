"""The kernels that learn factors of sessions, a block of events at a time, in float32.

In the order of the calls: between `open_block`, `weigh_errors` and `close_block` stand products of
matrices, which BLAS computes four times as fast as loops here do. Plain reference:
`tests/reference/session_factors.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined, inlined_bare, kernel
from operators.kernels.ranking.factors import NORM_MIN, weigh_context, write_session
from operators.kernels.ranking.item_sums import NO_ROW
from operators.kernels.ranking.vector_math import exp_all
from operators.kernels.training.factor_steps import (
    adagrad,
    add_scaled,
    inner,
    rotate,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

_LOG_PRIOR_MIN = np.float32(-60)
"""The smallest log prior of a row in a block: division by its exponential is still possible."""
_ZERO = np.float32(0)


@inlined_bare
def _note(row: int, index_of_row: Rows, rows: Rows, count: int) -> int:
    """Note a row once; returns how many there are."""
    if index_of_row[row] == NO_ROW:
        index_of_row[row] = count
        rows[count] = row
        return count + 1
    return count


@kernel(
    "UniTuple(int64, 3)(int32[::1], int32[:, ::1], int32[::1], float64[::1], float32[:, ::1],"
    "int32[::1], float32[:, ::1], int32[::1], int32[::1], int32[::1])",
    allocates=False,
)
def find_rows(
    items: Rows,
    context: Rows,
    negatives: Rows,
    popularity: NDArray[np.float64],
    position_weights: Weights,
    index_of_row: Rows,
    out_weights: Weights,
    out_length: Rows,
    out_event: Rows,
    out_row: Rows,
) -> tuple[int, int, int]:
    """Write the distinct rows of a block: targets, then other rows of sessions.

    Targets are the items of events that have a session (`out_event`), and the samples. Returns how
    many such events, targets and rows there are. `out_weights` and `out_length` are by event: the
    weight of each position, and how many items the session has. `index_of_row` says where among the
    rows a row is.
    """
    width, events, count = out_weights.shape[1], 0, 0
    for row in range(len(items)):
        index_of_row[items[row]] = NO_ROW
        out_length[row] = weigh_context(
            context, row, popularity, position_weights, out_weights[row]
        )
        for position in range(width):
            if out_weights[row, position] > _ZERO:
                index_of_row[context[row, position]] = NO_ROW
        if out_length[row]:
            out_event[events] = row
            events += 1
    for negative in negatives:
        index_of_row[negative] = NO_ROW
    if events:
        for place in range(events):
            count = _note(items[out_event[place]], index_of_row, out_row, count)
        for negative in negatives:
            count = _note(negative, index_of_row, out_row, count)
    targets = count
    for place in range(events):
        row = out_event[place]
        for position in range(width):
            if out_weights[row, position] > _ZERO:
                count = _note(context[row, position], index_of_row, out_row, count)
    return events, targets, count


@inlined_bare
def _start_new_items(
    events: Rows,
    items: Rows,
    context: Rows,
    weights: Weights,
    vectors: Weights,
    squares: Weights,
    moved: Weights,
) -> None:
    """Move items that were never learned halfway to the last session in which they are seen.

    `moved` is scratch by event: all sessions are read before an item is moved.
    """
    for place in range(len(events)):
        event, own = events[place], moved[place]
        item = items[event]
        if squares[item] == _ZERO:
            write_session(context, event, weights[event], vectors, own)
            add_scaled(own, vectors[item], np.float32(1))
            norm = np.sqrt(inner(own, own)) + NORM_MIN
            for column in range(len(own)):
                own[column] /= norm
    for place in range(len(events)):
        item = items[events[place]]
        if squares[item] == _ZERO:
            for column in range(vectors.shape[1]):
                vectors[item, column] = moved[place, column]


@inlined_bare
def _write_prior(
    rows: Rows, probabilities: Weights, bias: Weights, out: Weights, bits: Rows
) -> None:
    """Write how likely each target is whatever the session: by its bias, and how rarely it is one."""
    largest = np.float32(-np.inf)
    for index in range(len(out)):
        out[index] = bias[rows[index]] - np.log(probabilities[index])
        largest = max(largest, out[index])
    for index in range(len(out)):
        out[index] = max(out[index] - largest, _LOG_PRIOR_MIN)
    exp_all(out, len(out), bits)


@kernel(
    "void(int32[::1], int32[::1], int32[:, ::1], float32[:, ::1], int32[::1], float32[::1],"
    "float32[:, ::1], float32[::1], float32[::1], float32, float32[:, ::1], float32[:, ::1],"
    "float32[::1], float32[::1], float32[:, ::1])"
)
def open_block(
    events: Rows,
    items: Rows,
    context: Rows,
    weights: Weights,
    rows: Rows,
    probabilities: Weights,
    vectors: Weights,
    squares: Weights,
    bias: Weights,
    inverse_temperature: np.float32,
    out_current: Weights,
    out_session: Weights,
    out_norm: Weights,
    out_prior: Weights,
    out_weighed: Weights,
) -> None:
    """Start new items, and write what a block reads: the vectors of its rows, sessions at length 1 and
    the length they had, and of the targets the prior, and the vector times prior and temperature.

    `probabilities` are those of the targets, the first of the `rows`, to be among events and samples.
    """
    _start_new_items(events, items, context, weights, vectors, squares, out_session)
    for index in range(len(rows)):
        for column in range(vectors.shape[1]):
            out_current[index, column] = vectors[rows[index], column]
    for place in range(len(events)):
        event = events[place]
        out_norm[place] = write_session(context, event, weights[event], vectors, out_session[place])
    _write_prior(rows, probabilities, bias, out_prior, np.empty(len(out_prior), np.int32))
    for index in range(len(out_prior)):
        factor = out_prior[index] * inverse_temperature
        for column in range(vectors.shape[1]):
            out_weighed[index, column] = out_current[index, column] * factor


@kernel(
    "void(int32[::1], int32[::1], float32[::1], int32[::1], float32[::1], float32,"
    "float32[:, ::1], float32[::1])"
)
def weigh_errors(
    events: Rows,
    items: Rows,
    event_weights: Weights,
    index_of_row: Rows,
    prior: Weights,
    inverse_temperature: np.float32,
    errors: Weights,
    bias_gradient: Weights,
) -> None:
    """Replace cosines of sessions and targets, float32[n, m], by predicted less actual.

    They are times the weight of the event and over the prior. `bias_gradient` [m] gets their sums.
    """
    bits = np.empty(len(prior), np.int32)
    for place in range(len(events)):
        event, own = events[place], errors[place]
        for index in range(len(own)):
            own[index] *= inverse_temperature
        exp_all(own, len(own), bits)
        total = inner(own, prior)
        positive = index_of_row[items[event]]
        own[positive] -= total / prior[positive]
        scale = event_weights[event] / total
        for index in range(len(own)):
            own[index] *= scale
            bias_gradient[index] += own[index]


@inlined_bare
def _across(session_gradient: Weights, sessions: Weights, norms: Weights) -> None:
    """Turn gradients by sessions at length 1 into those by the raw sessions, in place."""
    for place in range(len(norms)):
        gradient = session_gradient[place]
        add_scaled(gradient, sessions[place], -inner(gradient, sessions[place]))
        for column in range(len(gradient)):
            gradient[column] /= norms[place]


@inlined
def _descend_sessions(
    events: Rows,
    context: Rows,
    weights: Weights,
    lengths: Rows,
    index_of_row: Rows,
    current: Weights,
    session_gradient: Weights,
    gradient: Weights,
    log_weights: Weights,
    place_squares: Weights,
    position_rate: np.float32,
) -> None:
    """Add the gradients of sessions to those of their items, and learn the weights of positions."""
    place_gradient = np.zeros(log_weights.shape, np.float32)
    is_used = np.zeros(len(log_weights), np.bool_)
    width = weights.shape[1]
    for place in range(len(events)):
        event = events[place]
        length = lengths[event] - 1
        is_used[length] = True
        for position in range(width):
            weight = weights[event, position]
            if weight > _ZERO:
                index = index_of_row[context[event, position]]
                add_scaled(gradient[index], session_gradient[place], weight)
                slope = inner(current[index], session_gradient[place])
                place_gradient[length, position] += weight * slope
    for length in range(len(log_weights)):
        if is_used[length]:
            for position in range(width):
                adagrad(
                    log_weights[length], place_squares[length], position,
                    place_gradient[length, position], position_rate,
                )  # fmt: skip


@kernel(
    "void(int32[::1], int32[:, ::1], float32[:, ::1], int32[::1], int32[::1], int32[::1],"
    "float32[:, ::1], float32[:, ::1], float32[::1], float32[::1], float32[:, ::1], float32[:, ::1],"
    "float32[::1], float32[:, ::1], float32[::1], float32[::1], float32[::1], float32[:, ::1],"
    "float32[:, ::1], float32, float32, float32, float32)"
)
def close_block(
    events: Rows,
    context: Rows,
    weights: Weights,
    lengths: Rows,
    index_of_row: Rows,
    rows: Rows,
    current: Weights,
    sessions: Weights,
    norms: Weights,
    prior: Weights,
    session_gradient: Weights,
    gradient: Weights,
    bias_gradient: Weights,
    vectors: Weights,
    squares: Weights,
    bias: Weights,
    bias_squares: Weights,
    log_weights: Weights,
    place_squares: Weights,
    inverse_temperature: np.float32,
    rate: np.float32,
    bias_rate: np.float32,
    position_rate: np.float32,
) -> None:
    """Take the steps of a block down its gradients.

    `gradient` is by row: of targets over prior and temperature, 0 for other rows of sessions.
    """
    for index in range(len(prior)):
        factor = prior[index] * inverse_temperature
        for column in range(gradient.shape[1]):
            gradient[index, column] *= factor
    _across(session_gradient, sessions, norms)
    _descend_sessions(
        events, context, weights, lengths, index_of_row, current, session_gradient, gradient,
        log_weights, place_squares, position_rate,
    )  # fmt: skip
    for index in range(len(rows)):
        rotate(vectors[rows[index]], squares, rows[index], current[index], gradient[index], rate)
    for index in range(len(prior)):
        adagrad(bias, bias_squares, rows[index], bias_gradient[index] * prior[index], bias_rate)
