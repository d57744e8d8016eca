"""The difference of two variants with its standard error, absolute and as a share of the control."""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from operators.experiments.statistics.sums import Arm


class Effect(NamedTuple):
    """An estimate, its standard error (0: unknown) and the units of both variants."""

    estimate: float
    standard_error: float
    n: int


def absolute_effect(control: Arm, variant: Arm) -> Effect:
    """The difference of the means."""
    n = control.n + variant.n
    if not (control.n and variant.n):
        return Effect(0.0, 0.0, n)
    error = sqrt(control.variance / control.n + variant.variance / variant.n)
    return Effect(variant.mean - control.mean, error, n)


def relative_effect(control: Arm, variant: Arm) -> Effect:
    """The difference as a share of the control's mean, its error by the delta method.

    Unknown where the control's mean is not above 0.
    """
    n = control.n + variant.n
    if not (control.n and variant.n) or control.mean <= 0:
        return Effect(0.0, 0.0, n)
    ratio = variant.mean / control.mean
    squared_error = variant.variance / variant.n + ratio**2 * control.variance / control.n
    return Effect(ratio - 1, sqrt(squared_error) / control.mean, n)
