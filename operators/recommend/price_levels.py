"""Price bands: their lower ends are 0, 1, 2, 5, 10, 20, 50, and so on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from state.arrays import Weights

_STEPS = [0, *(step * 10**power for power in range(8) for step in (1, 2, 5))]
_NAMES = [*map(str, _STEPS), None]


def price_bands(price: Weights) -> list[str | None]:
    """The lower end of the band of each price, None for NaN.

    >>> price_bands(np.array([0.5, 19.99, 20, np.nan]))
    ['0', '10', '20', None]
    """
    index = np.searchsorted(_STEPS, price, side="right") - 1
    return [_NAMES[index] for index in np.where(np.isnan(price), len(_STEPS), index).tolist()]
