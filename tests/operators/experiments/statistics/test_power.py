"""Units and effects against statsmodels; the two questions are inverse to each other."""

from __future__ import annotations

from math import inf, isinf

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.power import NormalIndPower

from operators.experiments.statistics.power import (
    effect_found,
    fixed_critical,
    power_of,
    sequence_critical,
    units_needed,
)

effects = st.floats(0.001, 1.0)


@given(effects, st.integers(2, 10**6), st.sampled_from([0.1, 0.05, 0.01]))
def test_power_is_that_of_statsmodels(effect: float, units: int, alpha: float) -> None:
    theirs = NormalIndPower().power(effect, units, alpha)
    assert power_of(effect, 1.0, units, fixed_critical(alpha)) == pytest.approx(theirs, abs=1e-9)


@pytest.mark.parametrize("effect", [0.5, 0.1, 0.02, 0.003])
@pytest.mark.parametrize("power", [0.8, 0.95])
def test_the_units_needed_are_those_of_statsmodels(effect: float, power: float) -> None:
    units = units_needed(effect, 1.0, fixed_critical(0.05), power)
    assert NormalIndPower().power(effect, units, 0.05) == pytest.approx(power, abs=1e-9)
    theirs = NormalIndPower().solve_power(effect, alpha=0.05, power=power)
    assert units == pytest.approx(theirs, rel=1e-6)  # their search ends there


@given(effects, st.floats(0.1, 100), st.booleans())
def test_so_many_units_find_just_this_effect(effect: float, sd: float, is_sequence: bool) -> None:
    critical = sequence_critical(0.05, 20_000) if is_sequence else fixed_critical(0.05)
    units = units_needed(effect * sd, sd, critical)
    assert effect_found(sd, units, critical) == pytest.approx(effect * sd, rel=1e-6)


def test_the_sequence_needs_more_units_than_one_look() -> None:
    fixed = units_needed(0.05, 1.0, fixed_critical(0.05))
    assert 1 < units_needed(0.05, 1.0, sequence_critical(0.05, round(2 * fixed))) / fixed < 2.2


def test_no_effect_is_never_found_and_no_deviation_finds_all() -> None:
    critical = fixed_critical(0.05)
    assert isinf(units_needed(0.0, 1.0, critical))
    assert units_needed(0.1, 0.0, critical) == 2
    assert effect_found(0.0, 10, critical) == 0
    assert units_needed(1e-12, 1.0, critical) == inf
