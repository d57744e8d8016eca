"""List metrics: hand-counted cases, and the definitions written out a second time."""

from __future__ import annotations

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.evaluation.click_history import ItemClickHistory
from operators.evaluation.metrics import CaseNovelty, MetricAccumulator, rank_of
from state.times import DAY_MS

K = 5
CASES = st.lists(
    st.tuples(st.integers(0, 9), st.lists(st.integers(0, 9), unique=True, max_size=K)), min_size=1
)


def test_three_cases_counted_by_hand() -> None:
    tally = MetricAccumulator(k=20)
    tally.add(rank=1, listed=[10, 11], novelty=CaseNovelty(4.0, 1.0, 2))
    tally.add(rank=3, listed=[10, 12, 13], novelty=CaseNovelty(5.0, 2.0))
    tally.add(rank=0, listed=[], novelty=CaseNovelty(0.0, 6.0))
    assert tally.report(catalogue=8) == {
        "hr@20": 0.666667,
        "mrr@20": 0.444444,  # (1 + 1/3 + 0) / 3
        "ndcg@20": 0.5,  # (1 + 1/log2(4) + 0) / 3
        "map@20": 0.444444,
        "coverage@20": 0.5,  # 10, 11, 12, 13 of 8
        "gini@20": 0.575,  # 0, 0, 0, 0, 1, 1, 1, 2 of 5
        "novelty@20": 1.8,  # 9 bits over 5 listed items
        "bias@20": 1.2,  # 9 bits over 3 targets
        "fresh@20": 0.4,
    }


def test_no_case_is_no_error() -> None:
    assert set(MetricAccumulator(k=3).report(catalogue=0).values()) == {0.0}


def test_self_information_is_in_bits_of_the_clicks_so_far() -> None:
    clicks = ItemClickHistory()
    for item in [1, 1, 2, 3]:
        clicks.count(item, at_ms=0)
    assert [clicks.bits([1]), clicks.bits([2]), clicks.bits([1, 2]), clicks.bits([])] == [
        1,
        2,
        3,
        0,
    ]
    assert clicks.bits([99]) == 2, "an item never clicked is as surprising as one clicked once"


def gini(counts: list[int]) -> float:
    """Half of the mean difference of any two, by their mean."""
    n, total = len(counts), sum(counts)
    return sum(abs(a - b) for a in counts for b in counts) / (2 * n * total) if total else 0.0


def test_diversity_is_of_the_pairs_whose_categories_are_known() -> None:
    tally = MetricAccumulator(k=20, category_of={1: 0, 2: 0, 3: 7})
    tally.add(0, [1, 2, 3, 99], CaseNovelty(0.0))  # two of three pairs differ
    tally.add(0, [1, 2], CaseNovelty(0.0))  # none does
    tally.add(0, [1, 99], CaseNovelty(0.0))  # no pair is known
    assert tally.report(catalogue=4)["diversity@20"] == pytest.approx(1 / 3, abs=1e-6)


def test_an_item_first_clicked_less_than_a_day_before_is_fresh() -> None:
    clicks = ItemClickHistory()
    clicks.count(1, at_ms=0)
    clicks.count(2, at_ms=1)
    clicks.count(2, at_ms=DAY_MS)
    assert clicks.count_fresh([1, 2, 3], now_ms=DAY_MS) == 2, "an item never clicked is fresh"
    assert (clicks.age_ms(2, DAY_MS), clicks.age_ms(3, DAY_MS)) == (DAY_MS - 1, None)


@given(CASES)
def test_accumulated_metrics_are_the_definitions(cases: list[tuple[int, list[int]]]) -> None:
    tally = MetricAccumulator(K)
    for target, listed in cases:
        tally.add(
            rank_of(target, listed),
            listed,
            CaseNovelty(float(sum(listed)), float(target), len(listed) // 2),
        )
    ranks = [next((n for n, i in enumerate(ls, 1) if i == t), 0) for t, ls in cases]
    entries = [item for _, listed in cases for item in listed]
    expected = {
        "hr@5": sum(r > 0 for r in ranks) / len(cases),
        "mrr@5": sum(1 / r for r in ranks if r) / len(cases),
        "ndcg@5": sum(1 / log2(r + 1) for r in ranks if r) / len(cases),
        "map@5": sum(1 / r for r in ranks if r) / len(cases),
        "coverage@5": len(set(entries)) / 10,
        "gini@5": gini([entries.count(item) for item in range(10)]),
        "novelty@5": sum(entries) / len(entries) if entries else 0,
        "bias@5": sum(t for t, _ in cases) / len(cases) - sum(entries) / len(entries)
        if entries
        else 0,
        "fresh@5": sum(len(ls) // 2 for _, ls in cases) / len(entries) if entries else 0,
    }
    assert tally.report(catalogue=10) == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.integers(0, 5), min_size=1), st.lists(st.integers(0, 5), unique=True))
def test_self_information_is_minus_log2_of_the_share(clicked: list[int], listed: list[int]) -> None:
    clicks = ItemClickHistory()
    for item in clicked:
        clicks.count(item, at_ms=0)
    shares = [max(clicked.count(item), 1) / len(clicked) for item in listed]
    assert clicks.bits(listed) == pytest.approx(-sum(map(log2, shares)), abs=1e-9)
