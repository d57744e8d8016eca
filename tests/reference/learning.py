"""The plain forms of the kernels that learn tables of partners: sorts and gathers of whole batches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import (
    ascending_order,
    descending_key,
    first_occurrence,
    run_starts,
)

if TYPE_CHECKING:
    from state.arrays import Rows, Weights


def add_partners(row: Rows, item: Rows, gain: Weights, partner: Rows, weight: Weights) -> None:
    """Add gains to pairs, sorted by row and partner, in place."""
    starts = run_starts(row.astype(np.int64) << 32 | item)
    gain = np.add.reduceat(gain, starts)
    row, item = row[starts], item[starts]
    matches = partner[row] == item[:, None]
    slot = matches.argmax(axis=1)
    is_present = matches[np.arange(len(row)), slot]
    weight[row[is_present], slot[is_present]] += gain[is_present]
    is_new = ~is_present
    if is_new.any():
        _admit(row[is_new], item[is_new], gain[is_new], partner, weight)


def _admit(row: Rows, item: Rows, gain: Weights, partner: Rows, weight: Weights) -> None:
    """Admit newcomers, sorted by row, each at most once a row."""
    width = partner.shape[1]
    order = ascending_order(row.astype(np.int64) << 32 | descending_key(gain))
    row, item, gain = row[order], item[order], gain[order]
    first = run_starts(row)
    count = np.diff(first, append=len(row))
    rank = np.arange(len(row)) - np.repeat(first, count)
    group = np.repeat(np.arange(len(first)), count)
    fits = rank < width
    row, item, gain, rank, group = row[fits], item[fits], gain[fits], rank[fits], group[fits]
    # Weight in the high bits, slot in the low ones: one sort, and ties go to the first slot.
    bits = weight[row[rank == 0]].view(np.uint32).astype(np.int64)
    slots = np.sort(bits << 32 | np.arange(width), axis=1) & 0xFFFFFFFF
    slot = slots[group, rank]
    gain = gain + weight[row, slots[group, 0]]
    better = gain > weight[row, slot]
    row, slot = row[better], slot[better]
    partner[row, slot], weight[row, slot] = item[better], gain[better]


def transitions(
    context: Rows, length: int, item: Rows, weight: Weights, scale: Weights, backward: np.float32
) -> tuple[Rows, Rows, Weights]:
    """The pairs that events count for: from each item of the session to theirs, then back."""
    context = first_occurrence(context[:, :length])
    event, position = np.nonzero(context >= 0)
    previous, current = context[event, position], item[event]
    forth = (weight[event] / (position + 1)).astype(np.float32)
    return (
        np.concatenate([previous, current]),
        np.concatenate([current, previous]),
        np.concatenate([forth, forth * backward]) * np.tile(scale[event], 2),
    )
