"""Tests that hold at one time only, the planned end: Welch, chi-square, Holm; and Wilson's interval
of a share.
"""

from __future__ import annotations

from math import nan, sqrt
from typing import TYPE_CHECKING, NamedTuple

from scipy import special

from operators.experiments.statistics.effects import absolute_effect

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.experiments.statistics.sums import Arm


class Outcome(NamedTuple):
    """The statistic of a test and its p-value; NaN and 1 where there is nothing to test."""

    statistic: float
    p: float


_NOTHING = Outcome(nan, 1.0)


def welch(control: Arm, variant: Arm) -> Outcome:
    """The t-test of two means with variances of their own, two-sided."""
    effect = absolute_effect(control, variant)
    if not effect.standard_error or min(control.n, variant.n) < 2:
        return _NOTHING
    parts = [control.variance / control.n, variant.variance / variant.n]
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (control.n - 1) + parts[1] ** 2 / (variant.n - 1))
    t = effect.estimate / effect.standard_error
    return Outcome(t, 2 * float(special.stdtr(freedom, -abs(t))))


def chi_square_of_shares(successes: Sequence[int], units: Sequence[int]) -> Outcome:
    """Pearson's chi-square test that the share of successes is the same everywhere."""
    total, all_successes = sum(units), sum(successes)
    if not total or all_successes in (0, total) or min(units) == 0:
        return _NOTHING
    share = all_successes / total
    statistic = sum(
        (k - n * share) ** 2 / (n * share * (1 - share))
        for k, n in zip(successes, units, strict=True)
    )
    return Outcome(statistic, float(special.chdtrc(len(units) - 1, statistic)))


def chi_square_of_counts(counts: Sequence[int], shares: Sequence[float]) -> Outcome:
    """Pearson's chi-square test that units fell into the variants by these shares."""
    total = sum(counts)
    if not total:
        return _NOTHING
    statistic = sum(
        (count - total * share) ** 2 / (total * share)
        for count, share in zip(counts, shares, strict=True)
    )
    return Outcome(statistic, float(special.chdtrc(len(counts) - 1, statistic)))


def holm(p_values: Sequence[float]) -> list[float]:
    """The p-values corrected for their number, by Holm's method, in the order given."""
    corrected = [0.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        corrected[index] = highest
    return corrected


def wilson(successes: int, units: int, alpha: float) -> tuple[float, float]:
    """Wilson's interval of a share."""
    if not units:
        return 0.0, 1.0
    z = -float(special.ndtri(alpha / 2))
    share, scale = successes / units, 1 + z**2 / units
    centre = (share + z**2 / (2 * units)) / scale
    half = z * sqrt(share * (1 - share) / units + z**2 / (4 * units**2)) / scale
    return max(0.0, centre - half), min(1.0, centre + half)
