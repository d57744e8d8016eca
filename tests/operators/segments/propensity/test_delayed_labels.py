"""Decisions that are pending for weeks: their labels, by the shopper's later activity and orders."""

import numpy as np

from operators.segments.propensity.decision_times import BOUGHT, MERGED, SEEN, Observation
from operators.segments.propensity.delayed_labels import NEVER_MS, DelayedLabels
from operators.segments.propensity.features import SHOPPER_FEATURES

ANN, BOB, USER = 11, 12, 13
WAIT_MS, SPEND_MS = 100, 60


def labels() -> DelayedLabels:
    """At 10 decisions on Ann and Bob were taken, at 20 one on Ann."""
    delayed = DelayedLabels(WAIT_MS, SPEND_MS, 2)
    for at_ms, keys in ((10, [ANN, BOB]), (20, [ANN])):
        points = np.full((len(keys), len(SHOPPER_FEATURES)), float(at_ms))
        delayed.add(np.array(keys, np.uint64), at_ms, points, np.full((len(keys), 2), 0.5))
    return delayed


def observed(kind: int, at_ms: int, key: int, value: int = 0) -> Observation:
    """An observation that arrived at its own time."""
    return Observation(at_ms, kind, at_ms, key, value)


def mature(delayed: DelayedLabels, now_ms: int) -> list[tuple[int, int, int, int]]:
    """Of each decision whose labels are complete: taken, returned, bought, spent."""
    found = delayed.take_matured(now_ms)
    columns = (found.decided_ms, found.returned_ms, found.bought_ms, found.spent_micros)
    return list(zip(*(column.tolist() for column in columns), strict=True))


def test_labels_are_complete_after_the_wait_whatever_the_outcome() -> None:
    delayed = labels()
    delayed.observe([observed(SEEN, 15, ANN), observed(BOUGHT, 30, ANN, 7)])
    assert delayed.next_due_ms() == 110
    assert mature(delayed, 109) == []
    assert mature(delayed, 110) == [(10, 15, 30, 7), (10, 0, 0, 0)]
    assert mature(delayed, 120) == [(20, 0, 30, 7)]
    assert delayed.next_due_ms() == NEVER_MS


def test_what_a_decision_saw_already_is_no_outcome_of_it() -> None:
    delayed = labels()
    delayed.observe([observed(SEEN, 10, ANN), observed(BOUGHT, 10, ANN, 7)])
    assert mature(delayed, 120) == [(10, 0, 0, 0), (10, 0, 0, 0), (20, 0, 0, 0)]


def test_the_first_return_and_order_count_and_only_orders_within_the_horizon() -> None:
    delayed = labels()
    orders = [observed(BOUGHT, at_ms, BOB, 5) for at_ms in (70, 30, 71)]
    delayed.observe([observed(SEEN, 40, BOB), observed(SEEN, 25, BOB), *orders])
    assert mature(delayed, 110)[1] == (10, 25, 30, 10)


def test_a_merged_shopper_brings_its_decisions_and_an_erased_one_loses_them() -> None:
    delayed = labels()
    delayed.observe([observed(MERGED, 30, ANN, USER), observed(SEEN, 40, USER)])
    delayed.erase(BOB)
    assert len(delayed) == 2
    assert mature(delayed, 120) == [(10, 40, 0, 0), (20, 40, 0, 0)]
