"""Decision times: each shopper has its own; and observations, applied in the order of event time."""

import numpy as np
import pytest

from operators.segments.propensity.decision_times import (
    BOUGHT,
    MERGED,
    SEEN,
    TICK_MS,
    Observation,
    PendingObservations,
    first_tick_ms,
    key_of,
)
from operators.segments.propensity.features import SHOPPER_FEATURES
from operators.shoppers.features import feature_row
from state.messages import ShopperObservation
from state.shopper import Shopper

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


def test_observations_are_taken_in_the_order_of_their_arrival_up_to_a_time() -> None:
    pending = PendingObservations(PERIOD)
    seen = feature_row(Shopper(known=False, first_ms=1, last_ms=1), 0.0, None)
    pending.observe(
        [
            ShopperObservation("ann", 20, 25, value_micros=7, features_before=seen),
            ShopperObservation("bob", 10, 10, merged_into="ann"),
        ],
        0,
    )
    ann, bob = key_of("ann"), key_of("bob")
    assert pending.take_observations(9) == []
    assert pending.take_observations(10) == [Observation(10, MERGED, 10, bob, ann)]
    assert pending.take_observations(99) == [
        Observation(25, SEEN, 20, ann, 0),
        Observation(25, BOUGHT, 20, ann, 7),
    ]
    assert pending.take_observations(99) == []


def test_a_decision_sees_its_shopper_as_before_the_events_that_follow_it() -> None:
    pending = PendingObservations(PERIOD)
    tick_ms = first_tick_ms("ann", 1, PERIOD)
    rows = [
        feature_row(Shopper(known=False, views=views, first_ms=1, last_ms=1), 0.0, None)
        for views in (3, 9)
    ]
    after_ms = tick_ms + 1
    for row in rows:
        pending.observe([ShopperObservation("ann", after_ms, after_ms, None, "", after_ms, row)], 0)
    assert list(pending.decision_times_ms) == [tick_ms]
    (values,) = pending.take_points(tick_ms).values()
    assert np.expm1(values[SHOPPER_FEATURES.index("views")]) == pytest.approx(3, abs=1e-5)
    assert pending.take_points(tick_ms) == {}


def test_nothing_of_an_erased_shopper_is_pending() -> None:
    pending, restored = PendingObservations(PERIOD), PendingObservations(PERIOD)
    pending.observe(
        [
            ShopperObservation("ann", 5, 5, value_micros=7),
            ShopperObservation("bob", 6, 6, value_micros=8),
        ],
        0,
    )
    pending.erase(key_of("ann"))
    restored.restore(pending.arrays())
    assert restored.take_observations(9) == [Observation(6, BOUGHT, 6, key_of("bob"), 8)]
