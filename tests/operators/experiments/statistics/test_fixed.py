"""Tests at the planned end against SciPy and statsmodels."""

from __future__ import annotations

from math import isnan

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from operators.experiments.statistics.fixed import (
    chi_square_of_counts,
    chi_square_of_shares,
    holm,
    welch,
    wilson,
)
from operators.experiments.statistics.sums import Arm

amounts = st.lists(st.integers(-1000, 1000), min_size=2, max_size=40)


@given(amounts, amounts)
def test_welch_is_that_of_scipy(first: list[int], second: list[int]) -> None:
    arms = [
        Arm(len(one), float(np.mean(one)), float(np.var(one, ddof=1))) for one in (first, second)
    ]
    ours = welch(*arms)
    if not (arms[0].variance or arms[1].variance):
        assert isnan(ours.statistic)
        assert ours.p == 1
        return
    theirs = stats.ttest_ind(second, first, equal_var=False)
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-9, abs=1e-9)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9, abs=1e-9)


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), min_size=2, max_size=5))
def test_chi_square_of_shares_is_that_of_scipy(rows: list[tuple[int, int]]) -> None:
    ours = chi_square_of_shares([yes for yes, _ in rows], [yes + no for yes, no in rows])
    theirs = stats.chi2_contingency(rows, correction=False)
    assert ours.statistic == pytest.approx(theirs.statistic, rel=1e-9, abs=1e-9)
    assert ours.p == pytest.approx(theirs.pvalue, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize(
    ("successes", "units"), [((0, 0), (5, 5)), ((5, 5), (5, 5)), ((1, 0), (5, 0))]
)
def test_where_all_or_none_succeed_there_is_nothing_to_test(
    successes: tuple[int, ...], units: tuple[int, ...]
) -> None:
    assert chi_square_of_shares(successes, units).p == 1


@given(st.lists(st.integers(0, 5_000), min_size=2, max_size=4).filter(any))
def test_chi_square_of_counts_is_that_of_scipy(counts: list[int]) -> None:
    shares = [(n + 1) / sum(range(1, len(counts) + 1)) for n in range(len(counts))]
    theirs = stats.chisquare(counts, [sum(counts) * share for share in shares])
    ours = chi_square_of_counts(counts, shares)
    assert tuple(ours) == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("count", [1, 12])
def test_holm_is_that_of_statsmodels(count: int) -> None:
    p_values = [*np.random.default_rng(count).random(count) * 0.2, 0.05]
    expected = multipletests(p_values, method="holm")[1]
    assert holm(p_values) == pytest.approx(expected, abs=1e-12)


@given(st.integers(1, 10_000), st.data(), st.sampled_from([0.2, 0.05, 0.001]))
def test_wilson_is_that_of_statsmodels(units: int, data: st.DataObject, alpha: float) -> None:
    successes = data.draw(st.integers(0, units))
    theirs = proportion_confint(successes, units, alpha=alpha, method="wilson")
    assert wilson(successes, units, alpha) == pytest.approx(theirs, abs=1e-9)


def test_a_share_of_nothing_may_be_anything() -> None:
    assert wilson(0, 0, 0.05) == (0.0, 1.0)
