"""Affinities: decayed counts of categories whose sum does not depend on the order."""

from __future__ import annotations

from itertools import permutations
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from operators.shoppers.affinities import DecayedCounts
from state.shopper import Shopper
from state.times import DAY_MS

if TYPE_CHECKING:
    from random import Random

HALF_LIFE_MS = 14 * DAY_MS
TASTES = DecayedCounts(HALF_LIFE_MS, 16)

told = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 30 * HALF_LIFE_MS)), min_size=1, max_size=20
)


def shopper(events: list[tuple[str, int]], tastes: DecayedCounts = TASTES) -> Shopper:
    one = Shopper(False, 0, 0)
    for name, at_ms in events:
        tastes.add(one, name, at_ms)
    return one


def test_an_event_that_is_a_half_life_older_counts_half() -> None:
    one = shopper([("shoes", 0), ("socks", HALF_LIFE_MS), ("hats", 2 * HALF_LIFE_MS)])
    assert one.affinity == {"shoes": 0.25, "socks": 0.5, "hats": 1.0}
    name, share = TASTES.top(one)
    assert (name, share) == ("hats", 1 / 1.75)


def test_without_events_there_is_no_affinity() -> None:
    assert TASTES.top(shopper([])) == ("", 0.0)


def test_of_two_equal_categories_the_first_by_name_is_the_top() -> None:
    assert TASTES.top(shopper([("b", 0), ("a", 0)])) == ("a", 0.5)


@given(told, st.randoms(use_true_random=False))
def test_any_order_gives_the_same_bits(events: list[tuple[str, int]], order: Random) -> None:
    mixed = list(events)
    order.shuffle(mixed)
    assert shopper(mixed) == shopper(events)


@given(told, told)
def test_merged_affinities_are_those_of_one_shopper(
    ours: list[tuple[str, int]], theirs: list[tuple[str, int]]
) -> None:
    merged = shopper(ours)
    TASTES.merge(merged, shopper(theirs))
    assert merged == shopper(ours + theirs)


@given(st.lists(st.tuples(st.integers(0, 60).map(str), st.integers(0, 99)), max_size=200))
def test_the_table_is_bounded_and_keeps_the_strongest(events: list[tuple[str, int]]) -> None:
    few = DecayedCounts(HALF_LIFE_MS, 4)
    often = [("often", 0)] * 300
    one = shopper([*often, *events], few)
    assert len(one.affinity) <= 8
    assert few.top(one)[0] == "often"


def test_few_categories_are_all_kept_in_any_order() -> None:
    names = [("a", 0), ("b", 1), ("c", 2), ("d", 3)]
    few = DecayedCounts(HALF_LIFE_MS, 2)
    assert all(len(shopper(list(order), few).affinity) == 4 for order in permutations(names))
