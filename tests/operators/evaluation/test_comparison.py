"""Whether one list is better than another: intervals hold the truth as often as they say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from operators.evaluation.breakdown import breakdown
from operators.evaluation.click_history import ItemClickHistory
from operators.evaluation.comparison import compare, differences
from operators.evaluation.results import Case, EvaluationResult

if TYPE_CHECKING:
    from numpy.typing import NDArray

HOUR_MS = 3_600_000


def outcome_of(cases: list[tuple[int, int, int]]) -> EvaluationResult:
    """(owner, rank in our list, rank in theirs), lists of 3."""
    outcome = EvaluationResult(k=3)
    for owner, *ranks in cases:
        lists = {
            name: [9] * (rank - 1) + [7] + [9] * (3 - rank) if rank else [9, 9, 9]
            for name, rank in zip(("ours", "theirs"), ranks, strict=True)
        }
        outcome.add(
            Case(7, owner * HOUR_MS, owner, owner % 3, owner > 1), lists, ItemClickHistory()
        )
    return outcome


def test_a_comparison_counted_by_hand() -> None:
    found = compare(outcome_of([(0, 1, 0), (0, 2, 2), (1, 0, 3), (2, 1, 0)]), "ours", "theirs")
    assert (found.n, found.owners, found.only_ours, found.only_theirs) == (4, 3, 2, 1)
    assert found.hr.mean == pytest.approx((1 + 0 - 1 + 1) / 4)
    assert found.mrr.mean == pytest.approx((1 + 0 - 1 / 3 + 1) / 4)
    assert found.mcnemar_p == 1.0
    assert found.hr.low <= found.hr.mean <= found.hr.high


def test_equal_lists_have_no_difference() -> None:
    found = compare(outcome_of([(n, n % 3, n % 3) for n in range(30)]), "ours", "theirs")
    assert (found.hr.low, found.hr.high, found.hr.p, found.mcnemar_p) == (0, 0, 1, 1)
    assert not found.hr.is_gain


def shops(truth: float, seed: int) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    """Differences by shopper with tastes of their own, and many cases of each."""
    draw = np.random.default_rng(seed)
    cases = draw.poisson(6, 150) + 1
    taste = draw.normal(truth, 0.3, 150)
    owner = np.repeat(np.arange(150), cases)
    return draw.normal(taste[owner], 0.5)[None], owner


def test_intervals_hold_the_truth_19_times_of_20_although_cases_of_a_shopper_are_alike() -> None:
    held = false_alarms = 0
    for seed in range(60):
        (found,) = differences(*shops(0.05, seed))
        held += found.low <= 0.05 <= found.high
        (nothing,) = differences(*shops(0.0, seed))
        false_alarms += nothing.p < 0.05
    # 57 and 3 expected; binomial bounds of one in ten thousand.
    assert held >= 49
    assert false_alarms <= 11


def test_a_true_difference_is_found() -> None:
    (found,) = differences(*shops(0.3, seed=1))
    assert found.is_gain
    assert found.p < 0.01


def test_cases_are_grouped_by_their_traits() -> None:
    groups = breakdown(outcome_of([(0, 1, 0), (1, 0, 0), (2, 2, 1), (2, 0, 1)]))
    assert list(groups) == ["depth", "shopper", "hour"], "all items are alike"
    assert groups["shopper"] == {
        "new": {
            "n": 2,
            "ours": {"hr@3": 0.5, "mrr@3": 0.5},
            "theirs": {"hr@3": 0.0, "mrr@3": 0.0},
        },
        "known": {
            "n": 2,
            "ours": {"hr@3": 0.5, "mrr@3": 0.25},
            "theirs": {"hr@3": 1.0, "mrr@3": 1.0},
        },
    }
    assert [(name, group["n"]) for name, group in groups["hour"].items()] == [
        ("00", 1),
        ("01", 1),
        ("02", 2),
    ]
    assert list(groups["depth"]) == ["0", "1", "2-3"]
    timeless = breakdown(outcome_of([(0, 1, 0), (1, 0, 0)]), has_times=False)
    assert "hour" not in timeless
