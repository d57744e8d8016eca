"""Predictions as profiles show them: the fields, their texts, and the fields packed for a command.

The names of the fields are public: do not change them.

A chance is shown as the nearest of 241 steps of a tenth in log odds, an amount in steps of a
twentieth of its logarithm. So a field changes in Redis only when the change matters, and packing is
a look-up.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from state.resp import pack_str

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SESSION, BUYS, CHURN, VALUE = "p_buy_session", "p_buy_30d", "p_churn", "value_30d"
WEEKLY_MODELS = (BUYS, CHURN, VALUE)
"""The fields of the weekly models; SESSION is that of the open session."""
NO_STEP = -1
"""The step of a field without a value."""
_STEPS_PER_LOGIT = 10
_LOGIT_MAX = 12
_UNLIKELY = [
    f"{1.0 / (1.0 + np.exp(-step / _STEPS_PER_LOGIT)):.2g}"
    for step in range(-_STEPS_PER_LOGIT * _LOGIT_MAX, 1)
]
# The upper half is 1 minus the lower one: chances that sum to 1 at most do so as texts too.
_CHANCES = [
    *(f"{Decimal(text):f}" for text in _UNLIKELY),
    *(f"{1 - Decimal(text):f}" for text in _UNLIKELY[-2::-1]),
]
_STEPS_PER_FOLD = 20
_AMOUNTS = [
    f"{np.exp(step / _STEPS_PER_FOLD) - 1.0:.2f}" for step in range(16 * _STEPS_PER_FOLD + 1)
]


class ProfileFieldTexts:
    """A field of the profile, with its possible values packed for the command."""

    def __init__(self, field: str, *, amounts: bool = False) -> None:
        name = pack_str(field)
        self.field = field
        self.values = _AMOUNTS if amounts else _CHANCES
        self._is_amount = amounts
        # The last one stands for no value.
        self.packed = [*(f"{name}{pack_str(shown)}" for shown in self.values), ""]

    def steps(self, values: Floats) -> NDArray[np.int16]:
        """Return the nearest step of each chance or amount; NO_STEP for nan."""
        is_missing = np.isnan(values)
        if self._is_amount:
            steps = np.log1p(np.where(is_missing, 0.0, values)) * _STEPS_PER_FOLD
            steps = np.minimum(np.rint(steps), len(_AMOUNTS) - 1)
        else:
            chances = np.where(is_missing, 0.5, np.clip(values, 1e-7, 1.0 - 1e-7))
            logits = np.clip(np.log(chances) - np.log1p(-chances), -_LOGIT_MAX, _LOGIT_MAX)
            steps = np.rint(logits * _STEPS_PER_LOGIT) + _LOGIT_MAX * _STEPS_PER_LOGIT
        steps[is_missing] = NO_STEP
        indexes: NDArray[np.int16] = steps.astype(np.int16)
        return indexes

    def value(self, step: int) -> str:
        """Return the value of a step, "" for none."""
        return "" if step == NO_STEP else self.values[step]


class PropensityScores(NamedTuple):
    """Predictions for n shoppers, each float64[n], nan where there is none; in the order of `FIELDS`."""

    session: Floats
    buys: Floats
    churn: Floats
    value: Floats


FIELDS = (
    ProfileFieldTexts(SESSION),
    ProfileFieldTexts(BUYS),
    ProfileFieldTexts(CHURN),
    ProfileFieldTexts(VALUE, amounts=True),
)
