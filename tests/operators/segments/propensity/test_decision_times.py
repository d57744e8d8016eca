"""Decision times: each shopper has its own; and observations, applied in the order of event time."""

import pytest

from operators.segments.propensity.decision_times import (
    TICK_MS,
    first_tick_ms,
    key_of,
)

PERIOD = 8


@pytest.mark.parametrize("name", ["ann", "bob", "c"])
def test_a_shopper_has_one_decision_time_in_each_period_of_its_own(name: str) -> None:
    first = first_tick_ms(name, 0, PERIOD)
    assert 0 <= first < PERIOD * TICK_MS
    assert first % TICK_MS == 0
    assert first_tick_ms(name, first, PERIOD) == first
    assert first_tick_ms(name, first + 1, PERIOD) == first + PERIOD * TICK_MS


def test_keys_are_positive_and_of_63_bits() -> None:
    keys = {key_of(f"shopper {number}") for number in range(1000)}
    assert len(keys) == 1000
    assert all(0 < key < 2**63 for key in keys)
