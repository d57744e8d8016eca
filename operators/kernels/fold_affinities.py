"""The affinities of a shopper, as decayed counts of categories. See `shoppers.affinities`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare
from operators.kernels.pools import allocate, release
from operators.kernels.shopper_columns import (
    AFFINITIES,
    AFFINITIES_AT,
    AFFINITIES_CLASS,
    AFFINITY_POOL,
    AFFINITY_SCALE,
    HALF_LIFE_MS,
    HOUR_MS,
    TWO,
)

if TYPE_CHECKING:
    from operators.kernels.shopper_columns import Cells, Reals, Table, Text

_MANTISSA = 65536
NO_CATEGORY = 0


@inlined_bare
def is_less(text: Text, begin: Cells, code: int, other: int) -> bool:
    """Whether a text comes before another, by code points."""
    length, other_length = begin[code + 1] - begin[code], begin[other + 1] - begin[other]
    for offset in range(min(length, other_length)):
        own, others = text[begin[code] + offset], text[begin[other] + offset]
        if own != others:
            return bool(own < others)
    return bool(length < other_length)


@inlined_bare
def _is_stronger(table: Table, cell: int, other: int) -> bool:
    """Whether a count comes before another: the larger one, of equal ones the first by name."""
    _, _, _, codes, weights, _, _, text, begin = table
    if weights[cell] != weights[other]:
        return bool(weights[cell] > weights[other])
    return is_less(text, begin, codes[cell, 0], codes[other, 0])


@inlined_bare
def top_affinity(table: Table, row: int) -> tuple[int, float]:
    """The category with the largest count, and its share; NO_CATEGORY and 0 where there is none."""
    counters, _, _, codes, weights, _, _, _, _ = table
    first, count = counters[row, AFFINITIES_AT], counters[row, AFFINITIES]
    if count == 0:
        return NO_CATEGORY, 0.0
    if count == 1:
        return codes[first, 0], 1.0
    best, total = first, 0.0
    for cell in range(first, first + count):
        total += weights[cell]
        if cell != first and _is_stronger(table, cell, best):
            best = cell
    return codes[best, 0], weights[best] / total


@inlined_bare
def _scaled_weight(counters: Cells, weights: Reals, reals: Reals, row: int, at_ms: int) -> float:
    """The weight of an event in the scale of its shopper, which it may raise."""
    age = (at_ms // HOUR_MS * HOUR_MS) / reals[HALF_LIFE_MS]
    scale = math.floor(age)
    weight = np.rint(reals[TWO] ** (age - scale) * _MANTISSA) / _MANTISSA
    own_scale = counters[row, AFFINITY_SCALE]
    if scale == own_scale:
        return float(weight)
    if counters[row, AFFINITIES] == 0:
        counters[row, AFFINITY_SCALE] = scale
        return float(weight)
    if scale < own_scale:
        return math.ldexp(weight, int(scale - own_scale))
    first = counters[row, AFFINITIES_AT]
    for cell in range(first, first + counters[row, AFFINITIES]):
        weights[cell] = math.ldexp(weights[cell], int(own_scale - scale))
    counters[row, AFFINITY_SCALE] = scale
    return float(weight)


@inlined_bare
def _append(table: Table, row: int, code: int, weight: float) -> None:
    counters, _, _, codes, weights, heap, _, _, _ = table
    count, first = counters[row, AFFINITIES], counters[row, AFFINITIES_AT]
    size_class = counters[row, AFFINITIES_CLASS]
    if first == 0:
        first = allocate(heap, AFFINITY_POOL, codes, 0)
        counters[row, AFFINITIES_AT], counters[row, AFFINITIES_CLASS] = first, 0
    elif count == 1 << size_class:
        larger = allocate(heap, AFFINITY_POOL, codes, size_class + 1)
        for number in range(count):
            codes[larger + number, 0] = codes[first + number, 0]
            weights[larger + number] = weights[first + number]
        release(heap, AFFINITY_POOL, codes, first, size_class)
        first = larger
        counters[row, AFFINITIES_AT], counters[row, AFFINITIES_CLASS] = first, size_class + 1
    codes[first + count, 0] = code
    weights[first + count] = weight
    counters[row, AFFINITIES] = count + 1


@inlined_bare
def _keep_strongest(table: Table, row: int, counts_max: int) -> None:
    """Keep the strongest counts, the strongest first."""
    counters, _, _, codes, weights, _, _, _, _ = table
    first, count = counters[row, AFFINITIES_AT], counters[row, AFFINITIES]
    for cell in range(first, first + counts_max):
        best = cell
        for other in range(cell + 1, first + count):
            if _is_stronger(table, other, best):
                best = other
        code, weight = codes[cell, 0], weights[cell]
        codes[cell, 0], weights[cell] = codes[best, 0], weights[best]
        codes[best, 0], weights[best] = code, weight
    counters[row, AFFINITIES] = counts_max


@inlined_bare
def add_affinity(
    table: Table, reals: Reals, row: int, code: int, at_ms: int, counts_max: int
) -> None:
    """Count one event of a category."""
    counters, _, _, codes, weights, _, _, _, _ = table
    weight = _scaled_weight(counters, weights, reals, row, at_ms)
    first = counters[row, AFFINITIES_AT]
    for cell in range(first, first + counters[row, AFFINITIES]):
        if codes[cell, 0] == code:
            weights[cell] += weight
            return
    _append(table, row, code, weight)
    # Twice the limit before the weakest are dropped: a new category starts as the weakest.
    if counters[row, AFFINITIES] > 2 * counts_max:
        _keep_strongest(table, row, counts_max)
