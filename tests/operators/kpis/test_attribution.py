"""How credit is shared, and the interval of a rate."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from operators.kpis.attribution import ListClick, shares
from state.kpis import VIEW, Fact

VIEWED = Fact(b"1" * 8, VIEW, 0)


@given(
    st.lists(st.integers(1, 100), min_size=1, max_size=32),
    st.integers(0, 2**62),
    st.sampled_from(["last", "first", "even", "position"]),
)
def test_credits_are_never_negative_and_add_up_to_the_value(
    places: list[int], value: int, credit: str
) -> None:
    clicks = [ListClick(n, VIEWED, "mug", place) for n, place in enumerate(places)]
    given_ = [share or 0 for share in shares(clicks, value, credit)]
    assert sum(given_) == value
    assert min(given_) >= 0


def test_a_click_further_down_gets_less() -> None:
    clicks = [ListClick(n, VIEWED, "mug", place) for n, place in enumerate((1, 2, 4))]
    assert shares(clicks, 700, "position") == [400, 200, 100]
    assert shares(clicks, 700, "last") == [None, None, 700]
    assert shares([], 700, "even") == []
