"""List metrics: hand-counted cases, and the definitions written out a second time."""

from __future__ import annotations

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.evaluation.metrics import SelfInformation, Tally, rank_of

K = 5
CASES = st.lists(
    st.tuples(st.integers(0, 9), st.lists(st.integers(0, 9), unique=True, max_size=K)), min_size=1
)


def test_three_cases_counted_by_hand() -> None:
    tally = Tally(k=20)
    tally.add(rank=1, listed=[10, 11], bits=4.0)
    tally.add(rank=3, listed=[10, 12, 13], bits=5.0)
    tally.add(rank=0, listed=[], bits=0.0)
    assert tally.report(catalogue=8) == {
        "hr@20": 0.666667,
        "mrr@20": 0.444444,  # (1 + 1/3 + 0) / 3
        "ndcg@20": 0.5,  # (1 + 1/log2(4) + 0) / 3
        "map@20": 0.444444,
        "coverage@20": 0.5,  # 10, 11, 12, 13 of 8
        "novelty@20": 1.8,  # 9 bits over 5 listed items
    }


def test_no_case_is_no_error() -> None:
    assert set(Tally(k=3).report(catalogue=0).values()) == {0.0}


def test_self_information_is_in_bits_of_the_clicks_so_far() -> None:
    clicks = SelfInformation()
    for item in [1, 1, 2, 3]:
        clicks.count(item)
    assert [clicks.bits([1]), clicks.bits([2]), clicks.bits([1, 2]), clicks.bits([])] == [
        1,
        2,
        3,
        0,
    ]
    assert clicks.bits([99]) == 2, "an item never clicked is as surprising as one clicked once"


@given(CASES)
def test_tallies_are_the_definitions(cases: list[tuple[int, list[int]]]) -> None:
    tally = Tally(K)
    for target, listed in cases:
        tally.add(rank_of(target, listed), listed, bits=float(sum(listed)))
    ranks = [next((n for n, i in enumerate(ls, 1) if i == t), 0) for t, ls in cases]
    entries = [item for _, listed in cases for item in listed]
    expected = {
        "hr@5": sum(r > 0 for r in ranks) / len(cases),
        "mrr@5": sum(1 / r for r in ranks if r) / len(cases),
        "ndcg@5": sum(1 / log2(r + 1) for r in ranks if r) / len(cases),
        "map@5": sum(1 / r for r in ranks if r) / len(cases),
        "coverage@5": len(set(entries)) / 10,
        "novelty@5": sum(entries) / len(entries) if entries else 0,
    }
    assert tally.report(catalogue=10) == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.integers(0, 5), min_size=1), st.lists(st.integers(0, 5), unique=True))
def test_self_information_is_minus_log2_of_the_share(clicked: list[int], listed: list[int]) -> None:
    clicks = SelfInformation()
    for item in clicked:
        clicks.count(item)
    shares = [max(clicked.count(item), 1) / len(clicked) for item in listed]
    assert clicks.bits(listed) == pytest.approx(-sum(map(log2, shares)), abs=1e-9)
