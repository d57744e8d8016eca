"""Chances as they are shown in a profile: two digits, each already packed for Redis.

A chance is shown as the nearest of 241 steps of a tenth in log odds, so that it changes in Redis only
when it changed enough to matter, and packing it is a look-up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from state.resp import bulk

if TYPE_CHECKING:
    from numpy.typing import NDArray

_A_LOGIT = 10
_LARGEST = 12
_SHOWN = [
    f"{1.0 / (1.0 + np.exp(-step / _A_LOGIT)):.2g}"
    for step in range(-_A_LOGIT * _LARGEST, _A_LOGIT * _LARGEST + 1)
]


class Shown:
    """A field of the profile and its values, as they go into the command."""

    def __init__(self, field: str) -> None:
        name = bulk(field)
        self._texts = [*(f"{name}{bulk(shown)}" for shown in _SHOWN), f"{name}{bulk('0')}"]

    def texts(self, chances: NDArray[np.float64]) -> list[str]:
        """Field and value of each chance; nan is none at all, which is 0."""
        none = np.isnan(chances)
        sure = np.where(none, 0.5, np.clip(chances, 1e-7, 1.0 - 1e-7))
        logits = np.log(sure) - np.log1p(-sure)
        steps = np.rint(np.clip(logits, -_LARGEST, _LARGEST) * _A_LOGIT) + _A_LOGIT * _LARGEST
        steps[none] = len(_SHOWN)
        return [self._texts[step] for step in steps.astype(np.intp).tolist()]
