"""Sums of units: their parts add up, and the covariate does what least squares does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.api import OLS

from operators.experiments.statistics.sums import Arm, Sums, adjust

pairs = st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)), max_size=30)


def sums_of(rows: list[tuple[int, int]]) -> Sums:
    total = Sums()
    for y, x in rows:
        total.add(y, x)
    return total


@given(pairs, pairs)
def test_the_sums_of_parts_add_up_in_any_order(
    first: list[tuple[int, int]], second: list[tuple[int, int]]
) -> None:
    whole = sums_of([*first, *second])
    assert sums_of(first) + sums_of(second) == whole == sums_of([*second[::-1], *first])


@given(pairs.filter(lambda rows: len(rows) > 1))
def test_mean_and_variance_are_those_of_numpy(rows: list[tuple[int, int]]) -> None:
    y = np.array([value for value, _ in rows]) / 1e6
    arm = Arm.of(sums_of(rows))
    assert arm.mean == pytest.approx(y.mean(), rel=1e-9)
    assert arm.variance == pytest.approx(y.var(ddof=1), rel=1e-9, abs=1e-9)


def test_the_adjusted_difference_is_that_of_least_squares() -> None:
    rng = np.random.default_rng(3)
    past = np.round(rng.gamma(2, 20, 3_000), 2)
    arm = rng.integers(0, 3, 3_000)
    now = np.round(0.7 * past + rng.normal(50, 5, 3_000) + arm, 2)
    micros = [(round(y * 1e6), round(x * 1e6)) for y, x in zip(now, past, strict=True)]
    variants = [
        sums_of([row for row, of in zip(micros, arm, strict=True) if of == n]) for n in range(3)
    ]
    arms, saved = adjust(variants)
    design = np.column_stack([arm == 0, arm == 1, arm == 2, past]).astype(float)
    fit = OLS(now, design).fit()
    assert arms[1].mean - arms[0].mean == pytest.approx(fit.params[1] - fit.params[0], rel=1e-9)
    assert arms[2].mean - arms[0].mean == pytest.approx(fit.params[2] - fit.params[0], rel=1e-9)
    residual = now - fit.params[3] * past
    assert [one.variance for one in arms] == pytest.approx(
        [residual[arm == n].var(ddof=1) for n in range(3)], rel=1e-9
    )
    without = OLS(now, design[:, :3]).fit()
    assert saved == pytest.approx(1 - fit.ssr / without.ssr, rel=1e-9)
    assert saved > 0.8


@given(st.lists(pairs, min_size=1, max_size=3))
def test_a_covariate_never_adds_variance(rows: list[list[tuple[int, int]]]) -> None:
    variants = [sums_of(one) for one in rows]
    arms, saved = adjust(variants)
    assert -1e-9 <= saved <= 1 + 1e-9
    if not any(one.x for one in variants):
        assert (arms, saved) == ([Arm.of(one) for one in variants], 0)
