"""How many units an experiment needs, and which effect it can find, for two variants of equal size.

`z_critical` is what tells the test at a planned end from the sequence that is looked at all the
time. The sequence may decide earlier than its number of units here: then the difference went beyond
it by chance, or is larger.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Final

from scipy import optimize, special

from operators.experiments.statistics.sequence import widening

if TYPE_CHECKING:
    from collections.abc import Callable

    Critical = Callable[[float], float]

POWER: Final = 0.8


def fixed_critical(alpha: float) -> Critical:
    """The standard errors that a difference needs at the planned end."""
    z = -float(special.ndtri(alpha / 2))
    return lambda units: z


def sequence_critical(alpha: float, tuned_to: int) -> Critical:
    """The standard errors that a difference needs in the sequence, by units of one variant."""
    return lambda units: widening(2 * units, alpha, tuned_to)


def power_of(effect: float, sd: float, units: float, critical: Critical) -> float:
    """The probability that an absolute effect is found with so many units in each variant."""
    z, border = abs(effect) / (sd * sqrt(2 / units)), critical(units)
    return float(special.ndtr(z - border) + special.ndtr(-z - border))


def units_needed(effect: float, sd: float, critical: Critical, power: float = POWER) -> float:
    """The units of one variant with which an absolute effect is found with this probability."""
    if not effect or not sd:
        return float("inf") if sd else 2.0

    def lacking(log_units: float) -> float:
        return power_of(effect, sd, 2**log_units, critical) - power

    low, high = 1.0, 50.0
    if lacking(low) >= 0:
        return 2.0
    if lacking(high) <= 0:
        return float("inf")
    return float(2 ** optimize.brentq(lacking, low, high, xtol=1e-12, rtol=1e-14))


def effect_found(sd: float, units: float, critical: Critical, power: float = POWER) -> float:
    """The smallest absolute effect that so many units in each variant find with this probability."""
    if not sd:
        return 0.0
    error = sd * sqrt(2 / units)

    def lacking(z: float) -> float:
        return power_of(z * error, sd, units, critical) - power

    return error * float(optimize.brentq(lacking, 0.0, critical(units) + 10, xtol=1e-13))
