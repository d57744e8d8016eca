"""The confidence sequence: golden values of another implementation, and its promise by simulation."""

from __future__ import annotations

from math import inf, sqrt
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy import stats

from operators.experiments.statistics.power import fixed_critical, units_needed
from operators.experiments.statistics.sequence import absolute_sequence, p_always, widening
from operators.experiments.statistics.sums import Arm

if TYPE_CHECKING:
    from numpy.typing import NDArray

RUNS, LOOKS = 2_000, 100


def share(successes: int, n: int) -> Arm:
    p = successes / n
    return Arm(n, p, p * (1 - p))


def test_golden_values_of_gbstats() -> None:
    """300 of 10,000 against 360 of 10,000, alpha .05, tuned to 5,000."""
    interval = absolute_sequence(share(300, 10_000), share(360, 10_000), 0.05, 5_000)
    assert interval == pytest.approx((0.006, -0.0018989195, 0.0138989195, 0.3713483905), abs=1e-10)


def test_the_p_value_is_where_the_interval_touches_zero() -> None:
    for n in (50, 5_000, 400_000):
        for alpha in (0.2, 0.05, 0.001):
            # The scale stays that of the sequence; only its level moves.
            z = widening(n, alpha, 5_000)
            assert p_always(z, n, alpha, 5_000) == pytest.approx(alpha, rel=1e-12)
    assert p_always(0.0, 100, 0.05, 5_000) == 1.0


@pytest.mark.parametrize(
    ("control", "variant"), [(Arm(0, 0, 0), Arm(5, 1, 1)), (Arm(5, 1, 0),) * 2]
)
def test_where_nothing_is_known_the_interval_is_everything(control: Arm, variant: Arm) -> None:
    assert absolute_sequence(control, variant, 0.05, 5_000)[1:] == (-inf, inf, 1.0)


def z_scores(
    conversion: tuple[float, float], batch: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Differences in standard errors, by run and look."""
    n = batch * np.arange(1, LOOKS + 1)
    shares = [rng.binomial(batch, p, (RUNS, LOOKS)).cumsum(axis=1) / n for p in conversion]
    error = np.sqrt(sum(p * (1 - p) / n for p in shares))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(error > 0, (shares[1] - shares[0]) / error, 0.0)


@pytest.mark.parametrize("tuned_to", [5_000, 40_000])
def test_at_most_one_of_twenty_clean_runs_is_ever_wrong(tuned_to: int) -> None:
    """2,000 experiments without a difference, looked at 100 times each."""
    z = np.abs(z_scores((0.03, 0.03), 200, np.random.default_rng(7)))
    borders = np.array([widening(400 * look, 0.05, tuned_to) for look in range(1, LOOKS + 1)])
    wrong = (z > borders).any(axis=1).mean()
    assert wrong <= 0.05
    # The same looks with a t-test: what the sequence is for.
    assert (z > stats.norm.ppf(0.975)).any(axis=1).mean() > 0.3


def test_revenue_of_clean_runs_is_seldom_wrong_too() -> None:
    """Log-normal orders of 3 % of the units: the sequence needs no normal values."""
    rng, batch, looks, runs = np.random.default_rng(11), 400, 50, 400
    sums = np.zeros((2, 2, runs))
    wrong = np.zeros(runs, bool)
    for look in range(1, looks + 1):
        orders = rng.lognormal(3, 1, (2, runs, batch)) * (rng.random((2, runs, batch)) < 0.03)
        sums += np.stack([orders.sum(axis=2), (orders**2).sum(axis=2)], axis=1)
        n = look * batch
        mean, variance = sums[:, 0] / n, sums[:, 1] / n - (sums[:, 0] / n) ** 2
        z = np.abs(mean[1] - mean[0]) / np.sqrt(variance.sum(axis=0) / n)
        wrong |= z > widening(2 * n, 0.05, 20_000)
    assert wrong.mean() <= 0.05


def test_a_lift_of_five_percent_is_found_with_at_most_1_8_times_the_fixed_sample() -> None:
    """Conversion 30 % against 31.5 %: eight of ten runs tell within 1.8 times what one test needs."""
    sd = sqrt((0.3 * 0.7 + 0.315 * 0.685) / 2)
    needed = units_needed(0.015, sd, fixed_critical(0.05))
    batch = round(1.8 * needed / LOOKS)
    z = z_scores((0.3, 0.315), batch, np.random.default_rng(13))
    tuned_to = round(2 * needed)
    borders = np.array([widening(2 * batch * look, 0.05, tuned_to) for look in range(1, LOOKS + 1)])
    assert (z > borders).any(axis=1).mean() >= 0.8
