"""Money that cannot overflow: whole millionths between -AMOUNT_MAX and AMOUNT_MAX.

Two such amounts fit a signed 64-bit number even after they are added. So columns are added first and
clamped afterwards. Quantities and whatever else grows by what an event says are added the same way.
A sum at the limit does not say the true amount: `is_saturated` detects it, and the caller counts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Column = NDArray[np.int64]

MICROS_PER_UNIT: Final = 1_000_000
AMOUNT_MAX: Final = (1 << 62) - 1
"""About 4.6 trillion of a currency."""


def clamp(amount: int) -> int:
    """The amount, or the limit that it exceeds.

    >>> clamp(5), clamp(1 << 80), clamp(-1 << 80) == -AMOUNT_MAX
    (5, 4611686018427387903, True)
    """
    if -AMOUNT_MAX <= amount <= AMOUNT_MAX:
        return amount
    return AMOUNT_MAX if amount > 0 else -AMOUNT_MAX


def add(first: int, second: int) -> int:
    """The sum of two amounts, clamped."""
    total = first + second
    return total if -AMOUNT_MAX <= total <= AMOUNT_MAX else clamp(total)


def to_micros(amount: float) -> int:
    """An amount as whole millionths, clamped; 0 for NaN.

    >>> to_micros(12.34), to_micros(1e300) == AMOUNT_MAX, to_micros(float("nan"))
    (12340000, True, 0)
    """
    scaled = amount * MICROS_PER_UNIT
    if -AMOUNT_MAX < scaled < AMOUNT_MAX:
        return round(scaled)
    if scaled != scaled:
        return 0
    return AMOUNT_MAX if scaled > 0 else -AMOUNT_MAX


def is_saturated(*amounts: int) -> bool:
    """Whether one of these sums is at a limit, so that the true amount may be larger."""
    return any(amount >= AMOUNT_MAX or amount <= -AMOUNT_MAX for amount in amounts)


def format_decimal(amount: float) -> str:
    """Millionths as a decimal number with two digits after the point.

    >>> format_decimal(12_340_000), format_decimal(-5_000)
    ('12.34', '-0.01')
    """
    return f"{amount / MICROS_PER_UNIT:.2f}"


def add_columns(first: Column, second: Column) -> Column:
    """Sums of amounts, each clamped."""
    total: Column = np.clip(first + second, -AMOUNT_MAX, AMOUNT_MAX)
    return total


def add_at(totals: Column, indices: NDArray[np.integer[Any]], amounts: Column) -> None:
    """Add amounts in place at indices of a column, which may repeat; each sum is clamped.

    >>> column = np.array([AMOUNT_MAX - 1, 5])
    >>> add_at(column, np.array([0, 1, 0]), np.array([AMOUNT_MAX, 2, AMOUNT_MAX]))
    >>> column.tolist() == [AMOUNT_MAX, 7]
    True
    """
    if not len(amounts):
        return
    # Floats suffice to say that the plain sums fit: their error is far smaller than the spare half
    # of the range.
    upper_bound = np.abs(amounts.astype(np.float64)).sum() + np.abs(totals.astype(np.float64)).max()
    if upper_bound < AMOUNT_MAX:
        np.add.at(totals, indices, amounts)
        return
    sums: dict[int, int] = {}
    for index, amount in zip(indices.tolist(), amounts.tolist(), strict=True):
        sums[index] = sums.get(index, 0) + amount
    for index, amount in sums.items():
        totals[index] = clamp(int(totals[index]) + amount)


def to_column(amounts: NDArray[np.floating[Any]]) -> Column:
    """Floats as whole amounts, clamped; 0 for NaN.

    >>> to_column(np.array([1e300, -1e300, np.nan, 7.0])).tolist() == [AMOUNT_MAX, -AMOUNT_MAX, 0, 7]
    True
    """
    bound = float(AMOUNT_MAX)
    finite = np.clip(np.where(amounts == amounts, amounts, 0.0), -bound, bound)  # NaN: not itself
    result: Column = np.clip(finite.astype(np.int64), -AMOUNT_MAX, AMOUNT_MAX)
    return result
