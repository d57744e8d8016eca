"""Implicit factors as a list learner: what it lists, what it forgets, what it gives to a snapshot."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from operators.learners.base import Learner
from operators.learners.descent import NORM_MAX
from operators.learners.factors import FactorsLearner, best
from operators.learners.implicit_factors import BLOCK, Settings
from operators.learners.live_items import LiveItems
from state.interactions import NOBODY, Interactions, Requests

DAY_MS = 86_400_000
START_MS = 1_700_000_000_000


def interactions(
    shopper: ArrayLike,
    item: ArrayLike,
    at_ms: ArrayLike | None = None,
    context: ArrayLike | None = None,
) -> Interactions:
    n = np.size(item)
    return Interactions(
        np.array(shopper, np.int32),
        np.array(item, np.int32),
        np.zeros(n, np.int8),
        np.ones(n, np.float32),
        np.arange(n) + START_MS if at_ms is None else np.array(at_ms, np.int64),
        np.full((n, 3), NOBODY, np.int32) if context is None else np.array(context, np.int32),
    )


def requests(shopper: list[int], context: ArrayLike, now_ms: int = START_MS) -> Requests:
    return Requests(
        np.array(shopper, np.int32),
        np.array(context, np.int32),
        np.full(len(shopper), now_ms),
    )


def two_tastes(n: int = 8000, seed: int = 2, at_ms: ArrayLike | None = None) -> Interactions:
    """Even shoppers walk among items 0..9, odd ones among 10..19, with what they saw before."""
    rng = np.random.default_rng(seed)
    shopper = rng.integers(0, 30, n)
    item = rng.integers(0, 10, n) + 10 * (shopper % 2)
    context = np.stack([rng.integers(0, 10, n) + 10 * (shopper % 2) for _ in range(3)], axis=1)
    return interactions(shopper, item, at_ms, context)


def snapshot(learner: FactorsLearner) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in learner.arrays().items()}


@pytest.fixture
def learner() -> FactorsLearner:
    learner = FactorsLearner(Settings(n_factors=8))
    learner.learn_many(two_tastes())
    return learner


def test_it_is_a_learner() -> None:
    assert isinstance(FactorsLearner(), Learner)


def test_where_all_events_weigh_alike_it_does_not_matter_how_much() -> None:
    """A shop that sells and tells of no views: its purchases of weight 5 teach what views would."""
    light, heavy = (FactorsLearner(Settings(n_factors=8)) for _ in range(2))
    stream = two_tastes(2000)
    light.learn_many(stream)
    heavy.learn_many(replace(stream, weight=stream.weight * np.float32(5)))
    assert np.allclose(light.model.items, heavy.model.items, atol=1e-5)


def test_before_the_first_batch_lists_are_empty() -> None:
    lists = FactorsLearner().candidates(requests([0, NOBODY], [[1, 2], [NOBODY, 3]]), 4)
    assert lists.item.tolist() == [[NOBODY] * 4] * 2
    assert lists.because.tolist() == [[NOBODY] * 4] * 2


def test_a_shopper_gets_the_items_of_their_taste(learner: FactorsLearner) -> None:
    items = learner.candidates(requests([4, 5], [[NOBODY], [NOBODY]]), 8).item
    assert (items // 10).tolist() == [[0] * 8, [1] * 8]


def test_a_shopper_never_seen_gets_the_items_of_their_session(learner: FactorsLearner) -> None:
    lists = learner.candidates(requests([NOBODY, 99], [[13, 17], [2, 3]]), 8)
    assert (lists.item // 10).tolist() == [[1] * 8, [0] * 8]
    assert set(lists.because[0]) <= {13, 17}
    assert set(lists.because[1]) <= {2, 3}


def test_of_whom_nothing_is_known_nothing_is_listed(learner: FactorsLearner) -> None:
    lists = learner.candidates(requests([NOBODY, 99], [[NOBODY], [777]]), 3)
    assert lists.item.tolist() == [[NOBODY] * 3] * 2
    assert lists.score.tolist() == [[0.0] * 3] * 2


def test_lists_fall_by_score_hold_no_item_twice_and_say_what_score_says(
    learner: FactorsLearner,
) -> None:
    asked = requests([4, NOBODY, 7], [[3, NOBODY], [12, 15], [NOBODY, NOBODY]])
    lists = learner.candidates(asked, 30)
    assert (lists.item[:, 20:] == NOBODY).all()
    assert [len(set(row)) for row in lists.item[:, :20].tolist()] == [20] * 3
    assert (np.diff(lists.score[:, :20]) <= 0).all()
    np.testing.assert_allclose(
        learner.score(asked, lists.item[:, :20]), lists.score[:, :20], atol=1e-5
    )


def test_an_item_never_learned_scores_nothing(learner: FactorsLearner) -> None:
    asked = requests([4], [[3]])
    assert learner.score(asked, np.array([[NOBODY, 20, 1_000_000]], np.int32)).tolist() == [[0] * 3]
    assert FactorsLearner().score(asked, np.array([[3]], np.int32)).tolist() == [[0]]


def test_reads_leave_no_trace(learner: FactorsLearner) -> None:
    before = snapshot(learner)
    learner.candidates(requests([4, 99, NOBODY], [[3], [50], [NOBODY]]), 5)
    learner.score(requests([99], [[50]]), np.array([[3, 70]], np.int32))
    assert snapshot(learner) == before


def test_a_snapshot_goes_on_bit_for_bit(learner: FactorsLearner) -> None:
    restored = FactorsLearner(Settings(n_factors=8), seed=12345)
    restored.restore(learner.arrays())
    for seed in range(3):
        for each in (learner, restored):
            each.learn_many(two_tastes(700, seed))
    assert snapshot(restored) == snapshot(learner)


def test_a_snapshot_does_not_change_while_its_learner_goes_on(learner: FactorsLearner) -> None:
    arrays = learner.arrays()
    before = {name: array.tobytes() for name, array in arrays.items()}
    learner.learn_many(two_tastes(700, 9))
    assert {name: array.tobytes() for name, array in arrays.items()} == before


def test_a_snapshot_of_other_settings_is_refused(learner: FactorsLearner) -> None:
    with pytest.raises(ValueError, match="holds 8 factors, the settings ask for 32"):
        FactorsLearner().restore(learner.arrays())


def test_the_same_seed_and_batches_give_the_same_arrays(learner: FactorsLearner) -> None:
    again = FactorsLearner(Settings(n_factors=8))
    again.learn_many(two_tastes())
    assert snapshot(again) == snapshot(learner)


def test_a_shoppers_own_taste_halves_with_the_half_life() -> None:
    learner = FactorsLearner(Settings(n_factors=8, half_life_days=10))
    learner.learn_many(two_tastes(at_ms=np.full(8000, START_MS)))
    nothing = [[NOBODY]] * 3
    days = np.array([0, 10, 20]) * DAY_MS
    asked = Requests(np.full(3, 4, np.int32), np.array(nothing, np.int32), START_MS + days)
    now, half, quarter = learner.score(asked, np.tile(np.arange(20, dtype=np.int32), (3, 1)))
    np.testing.assert_allclose(half, now / 2, rtol=1e-5)
    np.testing.assert_allclose(quarter, now / 4, rtol=1e-5)


def test_what_was_popular_leaves_the_pool_for_what_is() -> None:
    live = LiveItems(half_life_ms=DAY_MS, pool_max=2, power=0.5)
    live.grow(4)
    live.count(np.array([0] * 8 + [1] * 4 + [2], np.int32), np.full(13, START_MS))
    assert live.pool.tolist() == [0, 1]
    live.count(np.array([2, 3], np.int32), np.full(2, START_MS + 5 * DAY_MS))
    assert live.pool.tolist() == [2, 3]


def test_years_without_an_event_leave_popularity_finite() -> None:
    live = LiveItems(half_life_ms=DAY_MS, pool_max=2, power=0.5)
    live.grow(2)
    for years in (0, 1, 2, 30):
        live.count(np.array([0, 1], np.int32), np.array([0, years * 365 * DAY_MS]))
    assert np.isfinite(live.popularity).all()
    assert live.popularity[1] > live.popularity[0]


@given(
    st.lists(st.integers(0, 8), min_size=1, max_size=40),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.5, 1.0]),
)
def test_a_negative_is_a_live_item_and_never_the_positive(
    items: list[int], seed: int, power: float
) -> None:
    live = LiveItems(half_life_ms=DAY_MS, pool_max=4, power=power)
    live.grow(9)
    rows = np.array(items, np.int32)
    live.count(rows, np.full(len(rows), START_MS))
    others = live.negatives(np.random.default_rng(seed), rows, 5)
    assert others.shape == (len(rows), 5 if len(set(items)) > 1 else 0)
    assert not (others == rows[:, None]).any()
    assert set(others.ravel().tolist()) <= set(items)


@pytest.mark.parametrize(
    ("shopper", "item"), [(0, None), (None, 0), (0, 0)], ids=["robot", "one item", "both"]
)
def test_vectors_stay_short_whatever_comes(shopper: int | None, item: int | None) -> None:
    rng = np.random.default_rng(1)
    learner = FactorsLearner()
    for _ in range(4):
        rows = rng.integers(0, 50, (2, 2000)).astype(np.int32)
        shoppers = rows[0] if shopper is None else rows[0] * 0
        items = rows[1] if item is None else np.where(rng.random(2000) < 0.9, 0, rows[1])
        learner.learn_many(interactions(shoppers, items, context=items[:, None].repeat(3, 1)))
    arrays = learner.arrays()
    for name in ("users", "items"):
        assert np.linalg.norm(arrays[name], axis=1).max() <= NORM_MAX * 1.001


def test_blocks_hide_the_size_of_the_callers_batches() -> None:
    batch = two_tastes(4 * BLOCK)
    whole, parts = FactorsLearner(), FactorsLearner()
    whole.learn_many(batch)
    for start in range(0, 4 * BLOCK, 2 * BLOCK):
        at = slice(start, start + 2 * BLOCK)
        parts.learn_many(
            Interactions(
                batch.shopper[at], batch.item[at], batch.kind[at],
                batch.weight[at], batch.at_ms[at], batch.context[at],
            )
        )  # fmt: skip
    assert snapshot(parts) == snapshot(whole)


def test_an_empty_batch_and_no_requests_are_answered(learner: FactorsLearner) -> None:
    before = snapshot(learner)
    learner.learn_many(interactions([], []))
    assert snapshot(learner) == before
    assert learner.candidates(requests([], np.zeros((0, 2))), 5).item.shape == (0, 5)


@pytest.mark.parametrize("columns", [5, 256, 1024, 1500, 2048])
@pytest.mark.parametrize("k", [1, 20, 200])
def test_the_best_are_the_best_of_a_full_sort(columns: int, k: int) -> None:
    scores = np.random.default_rng(columns + k).standard_normal((40, columns), dtype=np.float32)
    places, values = best(scores, k)
    in_order = np.argsort(-scores, axis=1)[:, :k]
    assert places.tolist() == in_order.tolist()
    assert values.tolist() == np.take_along_axis(scores, in_order, axis=1).tolist()
