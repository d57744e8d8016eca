"""RFM: scores and names against a computation that looks at everything, and cells without holes."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.learning import Learning
from operators.profile import value_micros
from operators.rfm import Rfm, name_of
from state import config
from state.resp import bulk
from state.segments import RFM_GRID, RFM_NAMES, rfm_definitions
from state.times import MINUTE_MS
from tests.learned import fed, retail
from tests.streams import flow_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

Bought = tuple[int, int, int]


def scored(bought: Sequence[Bought], shares: tuple[int, ...], points: tuple[int, ...]) -> list[int]:
    """By the definition: one point more for each limit that is exceeded."""
    limits = []
    for column in zip(*bought, strict=True):
        ordered = sorted(column)
        limits.append([ordered[max(0, -(-len(ordered) * share // 100) - 1)] for share in shares])
    return [
        int(
            "".join(
                str(points[sum(value > limit for limit in of)])
                for value, of in zip(one, limits, strict=True)
            )
        )
        for one in bought
    ]


class TestNames:
    def test_each_of_the_125_cells_has_one_of_eleven_names_and_every_name_a_cell(self) -> None:
        cells = Counter(name_of(100 * r + 10 * f + m) for r, f, m in product(range(1, 6), repeat=3))
        assert cells.total() == 125
        assert cells.keys() == RFM_NAMES.keys()
        assert len(RFM_NAMES) == 11
        assert [len(row) for row in RFM_GRID] == [5] * 5

    def test_more_recent_is_never_worse(self) -> None:
        best = list(RFM_NAMES)
        better = ["champions", "loyal", "potential-loyalist", "new", "promising", "need-attention"]
        for f, m in product(range(1, 6), repeat=2):
            places = [best.index(name_of(100 * r + 10 * f + m)) for r in range(1, 6)]
            assert [best[place] in better for place in places] == sorted(
                best[place] in better for place in places
            )

    def test_definitions_say_which_cells(self) -> None:
        rules = {one.id: one.rule for one in rfm_definitions()}
        assert rules["rfm-cannot-lose"] == "R 2, F and M 5; R 1, F and M 5"


amounts = st.tuples(st.integers(1, 50), st.integers(1, 6), st.integers(0, 40))


@pytest.mark.parametrize(
    ("scheme", "shares", "points"),
    [
        ("quintiles", (20, 40, 60, 80), (1, 2, 3, 4, 5)),
        ("top-bottom", (20, 80), (1, 3, 5)),
    ],
)
@given(st.lists(amounts, min_size=1, max_size=40))
def test_scores_are_percentiles_of_all_who_bought(
    scheme: str, shares: tuple[int, ...], points: tuple[int, ...], bought: list[Bought]
) -> None:
    rfm = Rfm(config.Rfm(scheme=scheme))  # type: ignore[arg-type]
    rows = np.arange(len(bought) + 1, dtype=np.int32)
    rfm.see(rows, np.array([*bought, (0, 0, 0)]))
    rfm.round(0)
    rfm.moved()
    expected = [*scored(bought, shares, points), 0]  # the last one never bought
    assert rfm.score[: len(rows)].tolist() == expected


def test_of_many_the_limits_are_taken_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    bought = np.array([(n * 7 % 101, n % 13 + 1, n * n % 97) for n in range(101)])
    at_once, in_turn = Rfm(config.Rfm()), Rfm(config.Rfm())
    for rfm, most in ((at_once, 101), (in_turn, 100)):
        monkeypatch.setattr("operators.rfm.AT_ONCE_ROWS", most)
        rfm.see(np.arange(101, dtype=np.int32), bought)
        rfm.round(0)
        if rfm is in_turn:
            for _ in range(2):
                assert not rfm.limits.size
                rfm.round(0)
        rfm.moved()
    assert in_turn.limits.tolist() == at_once.limits.tolist()
    assert in_turn.score.tolist() == at_once.score.tolist()
    assert in_turn.due_ms == at_once.due_ms > 0


def test_who_buys_is_scored_at_once_and_the_others_in_the_next_round() -> None:
    rfm = Rfm(config.Rfm(every_min=60))
    rows = np.arange(5, dtype=np.int32)
    rfm.see(rows, np.array([(n + 1, 1, 10) for n in range(5)]))
    rfm.round(0)
    assert len(rfm.moved()) == 5
    before = rfm.score[:5].tolist()
    assert before == [111, 211, 311, 411, 511]
    rfm.see(rows[:1], np.array([(9, 2, 20)]))
    assert rfm.score[:5].tolist() == [555, *before[1:]]
    rfm.round(59 * MINUTE_MS)
    assert not len(rfm.moved())
    rfm.round(60 * MINUTE_MS)
    assert rfm.moved().tolist() == [1, 2, 3, 4]
    assert rfm.score[:5].tolist() == [555, 111, 211, 311, 411]


def test_online_retail_comes_to_the_same_as_a_batch_computation_at_any_time() -> None:
    """New limits with each batch: then everybody stands where all orders until then put them."""
    events = retail(3000)
    learning = Learning(flow_settings(rfm=config.Rfm(every_min=1)))
    standing, shoppers = learning.learned.standing, learning.learned.recommender.shoppers
    bought: dict[str, Bought] = {}
    compared = 0
    for n, _ in enumerate(fed(learning, events, size=500)):
        for one in events[500 * n : 500 * (n + 1)]:
            if one.type == "purchase":
                who = one.user_id or one.anonymous_id or ""
                last_ms, orders, micros = bought.get(who, (0, 0, 0))
                bought[who] = max(last_ms, one.event_ts), orders + 1, micros + value_micros(one)
        expected = scored([*bought.values()], (20, 40, 60, 80), (1, 2, 3, 4, 5))
        for who, score in zip(bought, expected, strict=True):
            row = shoppers.find(who)
            assert standing.tails(np.array([row]))[0][0].startswith(bulk("rfm") + bulk(str(score)))
            assert f"rfm-{name_of(score)}" in dict(standing.audience.of(row))
        compared += len(bought)
    assert compared > 1000
