"""The confidence sequence: an interval that holds at all times at once, however often one looks.

The asymptotic sequence of Waudby-Smith et al. (arXiv 2103.06476v7, equation 9, tuned by equation
161; the p-value is its inverse). `n` is the number of units of both variants, as GrowthBook counts
it.
"""

from __future__ import annotations

from math import exp, inf, log, sqrt
from typing import TYPE_CHECKING, NamedTuple

from operators.experiments.statistics.effects import absolute_effect

if TYPE_CHECKING:
    from operators.experiments.statistics.effects import Effect
    from operators.experiments.statistics.sums import Arm


class Interval(NamedTuple):
    """An estimate with its bounds and its p-value."""

    estimate: float
    low: float
    high: float
    p: float


def mixing_scale(alpha: float, tuned_to: int) -> float:
    """The parameter of the sequence that makes it narrowest at `tuned_to` units."""
    return sqrt((-2 * log(alpha) + log(-2 * log(alpha) + 1)) / tuned_to)


def widening(n: float, alpha: float, tuned_to: int) -> float:
    """Half of the width of the sequence, in standard errors."""
    scaled = n * mixing_scale(alpha, tuned_to) ** 2
    return sqrt(2 * (scaled + 1) / scaled * log(sqrt(scaled + 1) / alpha))


def p_always(z: float, n: float, alpha: float, tuned_to: int) -> float:
    """The p-value that holds at all times, of a difference of `z` standard errors."""
    scaled = n * mixing_scale(alpha, tuned_to) ** 2
    return min(1.0, sqrt(scaled + 1) * exp(-(z**2) * scaled / (2 * (scaled + 1))))


def sequence(effect: Effect, alpha: float, tuned_to: int) -> Interval:
    """The interval of an effect at this time."""
    if not effect.standard_error or not effect.n:
        return Interval(effect.estimate, -inf, inf, 1.0)
    half = widening(effect.n, alpha, tuned_to) * effect.standard_error
    z = effect.estimate / effect.standard_error
    p = p_always(z, effect.n, alpha, tuned_to)
    return Interval(effect.estimate, effect.estimate - half, effect.estimate + half, p)


def absolute_sequence(control: Arm, variant: Arm, alpha: float, tuned_to: int) -> Interval:
    """The sequence of the difference of two means."""
    return sequence(absolute_effect(control, variant), alpha, tuned_to)
