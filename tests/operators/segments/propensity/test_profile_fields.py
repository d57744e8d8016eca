"""Predictions as profiles show them: steps, their texts, and the packed fields of a command."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.segments.propensity.profile_fields import FIELDS

CHANCE, AMOUNT = FIELDS[1], FIELDS[3]


def test_a_chance_is_shown_as_the_nearest_step_and_none_as_no_text() -> None:
    steps = CHANCE.steps(np.array([0.0, 0.01, 0.5, 0.99, 1.0, np.nan]))
    assert [CHANCE.value(step) for step in steps.tolist()] == [
        "0.0000061",
        "0.01",
        "0.5",
        "0.99",
        "0.9999939",
        "",
    ]


def test_an_amount_is_shown_in_steps_of_a_twentieth_of_its_logarithm() -> None:
    steps = AMOUNT.steps(np.array([0.0, 1.0, 100.0, np.nan]))
    assert [AMOUNT.value(step) for step in steps.tolist()] == ["0.00", "1.01", "98.48", ""]


@given(st.floats(0, 1))
def test_a_text_is_within_half_a_step_of_its_chance(chance: float) -> None:
    shown = float(CHANCE.value(int(CHANCE.steps(np.array([chance]))[0])))
    assert abs(shown - chance) <= 0.026 * min(1, 4 * chance * (1 - chance) + 0.1) + 1e-5
