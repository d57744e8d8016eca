"""The sequential test of shares: against an urn, no false alarms, and a real loss is found."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.experiments.statistics.fixed import chi_square_of_counts
from operators.experiments.statistics.sample_ratio import ALARM_BELOW, CONCENTRATION, sample_ratio_p

SHARES = (0.1, 0.45, 0.45)


@given(st.lists(st.integers(0, 2), max_size=200))
def test_the_odds_are_those_of_an_urn_drawn_one_by_one(draws: list[int]) -> None:
    """Polya's urn predicts each unit from those before it; the shares of the file are the other bet."""
    odds, seen = 1.0, [0, 0, 0]
    for drawn in draws:
        urn = (CONCENTRATION * SHARES[drawn] + seen[drawn]) / (CONCENTRATION + sum(seen))
        odds *= urn / SHARES[drawn]
        seen[drawn] += 1
    assert sample_ratio_p(seen, SHARES) == pytest.approx(min(1, 1 / odds), rel=1e-9)


def looks(drawn: tuple[float, ...], runs: int, seed: int) -> list[np.ndarray]:
    """The counts of each run after each hundred of 20,000 units."""
    batches = np.random.default_rng(seed).multinomial(100, drawn, (runs, 200))
    return list(batches.cumsum(axis=1))


def test_no_alarm_in_clean_runs_that_are_looked_at_200_times() -> None:
    runs = looks(SHARES, 200, seed=5)
    alarms = [any(sample_ratio_p(counts, SHARES) < ALARM_BELOW for counts in run) for run in runs]
    assert sum(alarms) == 0
    # The chi-square test at each look is wrong far more often than its level says.
    by_chi = [
        any(chi_square_of_counts(counts, SHARES).p < ALARM_BELOW for counts in run) for run in runs
    ]
    assert sum(by_chi) > 200 * ALARM_BELOW * 5


def test_exposures_that_are_lost_on_a_redirect_are_found() -> None:
    """10.9 / 46.7 / 42.4 in place of 10 / 45 / 45."""
    first_alarms = []
    for run in looks((0.109, 0.467, 0.424), 60, seed=9):
        alarms = [
            100 * n
            for n, counts in enumerate(run, 1)
            if sample_ratio_p(counts, SHARES) < ALARM_BELOW
        ]
        first_alarms.append(alarms[0] if alarms else 20_000)
    assert max(first_alarms) < 20_000
    assert np.median(first_alarms) < 10_000
