"""RFM: scores and names compared with a computation over all orders; every cell has a name."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.segments.rfm import Rfm, name_of
from operators.shoppers.amounts import value_micros
from state import config
from state.segments import RFM_GRID, RFM_NAMES, rfm_definitions
from state.times import MINUTE_MS
from tests.learned import fed, retail
from tests.personalization import Personalization
from tests.streams import event, flow_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from state.events import Event

Bought = tuple[int, int, int]


def scored(bought: Sequence[Bought], shares: tuple[int, ...], points: tuple[int, ...]) -> list[int]:
    """By the definition: one point more for each quantile that is exceeded."""
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
def test_scores_are_percentiles_of_all_buyers(
    scheme: str, shares: tuple[int, ...], points: tuple[int, ...], bought: list[Bought]
) -> None:
    rfm = Rfm(config.Rfm(scheme=scheme, buyers_min=1))  # type: ignore[arg-type]
    rows = np.arange(len(bought) + 1, dtype=np.int32)
    rfm.update(rows, np.array([*bought, (0, 0, 0)]))
    rfm.refresh_quantiles(0)
    rfm.rescore_slice()
    expected = [*scored(bought, shares, points), 0]  # the last one never bought
    assert rfm.score[: len(rows)].tolist() == expected


def test_with_many_shoppers_the_quantiles_are_taken_one_dimension_a_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bought = np.array([(n * 7 % 101, n % 13 + 1, n * n % 97) for n in range(101)])
    at_once, in_turn = Rfm(config.Rfm()), Rfm(config.Rfm())
    for rfm, most in ((at_once, 101), (in_turn, 100)):
        monkeypatch.setattr("operators.segments.rfm.SINGLE_BATCH_ROWS", most)
        rfm.update(np.arange(101, dtype=np.int32), bought)
        rfm.refresh_quantiles(0)
        if rfm is in_turn:
            for _ in range(2):
                assert not rfm.quantiles.size
                rfm.refresh_quantiles(0)
        rfm.rescore_slice()
    assert in_turn.quantiles.tolist() == at_once.quantiles.tolist()
    assert in_turn.score.tolist() == at_once.score.tolist()
    assert in_turn.due_ms == at_once.due_ms > 0


def test_a_buyer_is_scored_at_once_and_of_many_the_others_in_the_next_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rfm = Rfm(config.Rfm(every_min=60, buyers_min=5))
    rows = np.arange(5, dtype=np.int32)
    rfm.update(rows, np.array([(n + 1, 1, 10) for n in range(5)]))
    rfm.refresh_quantiles(0)
    assert len(rfm.rescore_slice()) == 5
    before = rfm.score[:5].tolist()
    assert before == [111, 211, 311, 411, 511]
    monkeypatch.setattr("operators.segments.rfm.FEW_BUYERS", 4)
    rfm.update(rows[:1], np.array([(9, 2, 20)]))
    assert rfm.score[:5].tolist() == [555, *before[1:]]
    rfm.refresh_quantiles(59 * MINUTE_MS)
    assert not len(rfm.rescore_slice())
    rfm.refresh_quantiles(60 * MINUTE_MS)
    assert rfm.rescore_slice().tolist() == [1, 2, 3, 4]
    assert rfm.score[:5].tolist() == [555, 111, 211, 311, 411]


def test_online_retail_equals_a_batch_computation_at_any_time() -> None:
    """With few buyers quantiles are taken with each order: scores follow from all orders until then."""
    events = retail(3000)
    learning = Personalization(flow_settings(rfm=config.Rfm(every_min=10_000, buyers_min=1)))
    standing, shoppers = learning.state.assignment, learning.state.recommender.shoppers
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
            row = shoppers.get(who)
            assert standing.rfm_and_stages(np.array([row]))[0][0] == score
            assert f"rfm-{name_of(score)}" in dict(standing.memberships.memberships_of(row))
        compared += len(bought)
    assert compared > 1000


def standing_of(learning: Personalization, who: Iterable[str]) -> dict[str, str]:
    """The RFM segment of each shopper, "" for none."""
    shoppers, audience = learning.state.recommender.shoppers, learning.state.memberships
    found = {}
    for name in who:
        places = [
            sid for sid, _ in audience.memberships_of(shoppers.get(name)) if sid.startswith("rfm-")
        ]
        found[name] = places[0] if places else ""
    return found


def assert_batches_do_not_show(events: Sequence[Event], sizes: Iterable[int]) -> None:
    buyers = {one.user_id or one.anonymous_id or "" for one in events if one.type == "purchase"}
    found = []
    for size in sizes:
        learning = Personalization(flow_settings())
        for _ in fed(learning, events, size=size):
            pass
        found.append(standing_of(learning, buyers))
    assert {*found[0].values()} == {f"rfm-{name}" for name in RFM_NAMES}
    assert all(one == found[0] for one in found)


def test_results_do_not_depend_on_batches() -> None:
    """A young shop of some weeks, most of whose buyers bought once."""
    draw = random.Random(5)
    at_ms, events = 0, []
    for n in range(600):
        at_ms += draw.randint(0, 90) * MINUTE_MS
        who, value = f"b{min(draw.randint(0, 150), draw.randint(0, 150))}", draw.randint(1, 90)
        events.append(event("purchase", n, at_ms, who, order_id=f"o{n}", value=float(value)))
    assert_batches_do_not_show(events, (16, 128, 1024))


@pytest.mark.slow
def test_online_retail_does_not_depend_on_batches() -> None:
    assert_batches_do_not_show(retail(9000), (128, 1024, 8192))


def orders(count: int, since_ms: int = 0) -> list[Event]:
    """One order each of so many shoppers, a minute after each other."""
    return [
        event("purchase", n, since_ms + n * MINUTE_MS, f"b{n}", order_id=f"o{n}", value=9.0 + n)
        for n in range(count)
    ]


def test_no_shopper_is_scored_before_there_are_enough_buyers() -> None:
    """The only buyer of a young shop has no score: there is nothing to compare with."""
    least = config.Rfm().buyers_min
    for count in (1, least - 1):
        learning = Personalization(flow_settings())
        for _ in fed(learning, orders(count), size=7):
            pass
        assert {*standing_of(learning, [f"b{n}" for n in range(count)]).values()} == {""}
    learning = Personalization(flow_settings())
    for _ in fed(learning, orders(least), size=7):
        pass
    assert "" not in standing_of(learning, [f"b{n}" for n in range(least)]).values()


def test_scores_end_when_too_few_buyers_are_left() -> None:
    least = config.Rfm().buyers_min
    learning = Personalization(flow_settings())
    gone = event("erase", "gone", least * MINUTE_MS, "b3")
    changes = [one for batch in fed(learning, [*orders(least), gone], size=least) for one in batch]
    left = [
        one for one in changes if one["kind"] == "leave" and str(one["segment"]).startswith("rfm-")
    ]
    assert {one["shopper"] for one in left} == {f"b{n}" for n in range(least)}
    assert {*standing_of(learning, [f"b{n}" for n in range(least)]).values()} == {""}


def test_the_end_of_a_recording_scores_all_shoppers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("operators.segments.rfm.MOVES_PER_BATCH", 3)
    monkeypatch.setattr("operators.segments.rfm.SINGLE_BATCH_ROWS", 10)
    rfm = Rfm(config.Rfm())
    bought = np.array([(n * 7 % 101, n % 13 + 1, n * n % 97) for n in range(101)])
    rfm.update(np.arange(101, dtype=np.int32), bought)
    assert [*rfm.advance(0)] == []
    moved = np.concatenate([*rfm.advance(1, last=True)])
    assert sorted(moved.tolist()) == list(range(101))
    assert rfm.score[:101].tolist() == scored(
        [*map(tuple, bought.tolist())], (20, 40, 60, 80), (1, 2, 3, 4, 5)
    )
