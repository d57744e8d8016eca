"""Exponentials and logarithms of many float32 numbers, in loops that compile to vector instructions.

A call of the C library for each number took most of the time of content and of the blend. The
polynomials are those of the Cephes library (Moshier, 1989); results are within two units in the last
place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.compiler import inlined_bare

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

_LOG2_E = np.float32(1.4426950408889634)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_EXP_MIN, _EXP_MAX = np.float32(-87.0), np.float32(88.0)
_SQRT_HALF = np.float32(0.7071067811865476)
_ONE, _HALF = np.float32(1), np.float32(0.5)
_E0, _E1, _E2, _E3, _E4, _E5 = (
    np.float32(c)
    for c in (
        1.9875691500e-4,
        1.3981999507e-3,
        8.3334519073e-3,
        4.1665795894e-2,
        1.6666665459e-1,
        0.5,
    )
)
_L0, _L1, _L2, _L3, _L4, _L5, _L6, _L7, _L8 = (
    np.float32(c)
    for c in (
        7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1,
        -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
    )
)  # fmt: skip


@inlined_bare
def exp_all(values: Weights, count: int, bits: Rows) -> None:
    """Replace the first `count` numbers by their exponentials; below -87 it is that of -87, nearly 0.

    `bits` is scratch, as long as the numbers.
    """
    for index in range(count):
        value = min(max(values[index], _EXP_MIN), _EXP_MAX)
        doublings = np.floor(value * _LOG2_E + _HALF)
        rest = value - doublings * _LN2_HIGH - doublings * _LN2_LOW
        series = ((((_E0 * rest + _E1) * rest + _E2) * rest + _E3) * rest + _E4) * rest + _E5
        values[index] = series * (rest * rest) + rest + _ONE
        bits[index] = (np.int32(doublings) + np.int32(127)) << np.int32(23)
    powers = bits.view(np.float32)
    for index in range(count):
        values[index] *= powers[index]


@inlined_bare
def log_all(values: Weights, count: int, bits: Rows) -> None:
    """Replace the first `count` numbers, which are normal and above 0, by their logarithms."""
    sources: NDArray[np.int32] = values.view(np.int32)
    mantissas = bits.view(np.float32)
    for index in range(count):
        bits[index] = (sources[index] & np.int32(0x7FFFFF)) | np.int32(0x3F000000)
    for index in range(count):
        exponent = np.float32((sources[index] >> np.int32(23)) - np.int32(126))
        mantissa = mantissas[index]
        is_small = mantissa < _SQRT_HALF
        exponent -= _ONE if is_small else np.float32(0)
        rest = mantissa + (mantissa if is_small else np.float32(0)) - _ONE
        square = rest * rest
        series = (((_L0 * rest + _L1) * rest + _L2) * rest + _L3) * rest + _L4
        series = (((series * rest + _L5) * rest + _L6) * rest + _L7) * rest + _L8
        series = series * rest * square + exponent * _LN2_LOW - _HALF * square
        values[index] = rest + series + exponent * _LN2_HIGH
