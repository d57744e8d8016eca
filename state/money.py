"""Money that cannot overflow: whole millionths between -LARGEST and LARGEST, where every sum stops.

Two such amounts fit a signed 64-bit number even after they are added: columns add them first and are
then held to the bound. Pieces and whatever else grows by what an event says add up in the same way.
A sum that stands at the bound is one that does not fit: `is_full` says so, whoever adds counts it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Column = NDArray[np.int64]

MICROS: Final = 1_000_000
LARGEST: Final = (1 << 62) - 1
"""About 4.6 trillion of a currency."""


def held(amount: int) -> int:
    """An amount within the bounds.

    >>> held(5), held(1 << 80), held(-1 << 80) == -LARGEST
    (5, 4611686018427387903, True)
    """
    if -LARGEST <= amount <= LARGEST:
        return amount
    return LARGEST if amount > 0 else -LARGEST


def add(one: int, other: int) -> int:
    """The sum of two amounts, within the bounds."""
    total = one + other
    return total if -LARGEST <= total <= LARGEST else held(total)


def micros(amount: float) -> int:
    """An amount as whole millionths; one that is no number is nothing.

    >>> micros(12.34), micros(1e300) == LARGEST, micros(float("nan"))
    (12340000, True, 0)
    """
    scaled = amount * MICROS
    if -LARGEST < scaled < LARGEST:
        return round(scaled)
    if scaled != scaled:
        return 0
    return LARGEST if scaled > 0 else -LARGEST


def is_full(*amounts: int) -> bool:
    """Whether one of these sums stands at a bound: it is that much, or more."""
    return any(amount >= LARGEST or amount <= -LARGEST for amount in amounts)


def decimal(amount: float) -> str:
    """Millionths as a decimal with cents.

    >>> decimal(12_340_000), decimal(-5_000)
    ('12.34', '-0.01')
    """
    return f"{amount / MICROS:.2f}"


def add_columns(one: Column, other: Column) -> Column:
    """Sums of amounts, each within the bounds."""
    total: Column = np.clip(one + other, -LARGEST, LARGEST)
    return total


def add_at(into: Column, place: NDArray[np.integer[Any]], amounts: Column) -> None:
    """Add amounts to places of a column, which may repeat; each sum stays within the bounds.

    >>> column = np.array([LARGEST - 1, 5])
    >>> add_at(column, np.array([0, 1, 0]), np.array([LARGEST, 2, LARGEST]))
    >>> column.tolist() == [LARGEST, 7]
    True
    """
    if not len(amounts):
        return
    # Floats tell for sure whether the plain sums fit: their error is far below the other half.
    most = np.abs(amounts.astype(np.float64)).sum() + np.abs(into.astype(np.float64)).max()
    if most < LARGEST:
        np.add.at(into, place, amounts)
        return
    sums: dict[int, int] = {}
    for at, amount in zip(place.tolist(), amounts.tolist(), strict=True):
        sums[at] = sums.get(at, 0) + amount
    for at, amount in sums.items():
        into[at] = held(int(into[at]) + amount)


def column(amounts: NDArray[np.floating[Any]]) -> Column:
    """Floats as whole amounts within the bounds, those that are no number as nothing.

    >>> column(np.array([1e300, -1e300, np.nan, 7.0])).tolist() == [LARGEST, -LARGEST, 0, 7]
    True
    """
    bound = float(LARGEST)
    whole = np.clip(np.nan_to_num(amounts, nan=0.0, posinf=bound, neginf=-bound), -bound, bound)
    found: Column = np.clip(whole.astype(np.int64), -LARGEST, LARGEST)
    return found
