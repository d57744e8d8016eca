"""Session factors as a reranker: its lists, removal and snapshots."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import ArrayLike

from operators.models.session_factors import BLOCK_EVENTS, SessionFactorsConfig
from operators.recommend.candidates.base import CandidateLearner
from operators.recommend.candidates.factors import SessionFactorsReranker
from state.arrays import NO_ROW
from state.interactions import Interactions, ListRequests

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
        np.full((n, 3), NO_ROW, np.int32) if context is None else np.array(context, np.int32),
    )


def requests(context: ArrayLike) -> ListRequests:
    """Strangers in sessions, for whom all items were named, some of them twice."""
    n = len(np.array(context))
    return ListRequests(
        np.full(n, NO_ROW, np.int32),
        np.array(context, np.int32),
        np.full(n, START_MS),
        np.tile(np.array([*range(20), 3, 17, NO_ROW, 999], np.int32), (n, 1)),
    )


def two_tastes(n: int = 8000, seed: int = 2, at_ms: ArrayLike | None = None) -> Interactions:
    """Even shoppers walk among items 0..9, odd ones among 10..19, with what they saw before."""
    rng = np.random.default_rng(seed)
    shopper = rng.integers(0, 30, n)
    item = rng.integers(0, 10, n) + 10 * (shopper % 2)
    context = np.stack([rng.integers(0, 10, n) + 10 * (shopper % 2) for _ in range(3)], axis=1)
    return interactions(shopper, item, at_ms, context)


def snapshot(learner: SessionFactorsReranker) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in learner.arrays().items()}


@pytest.fixture
def learner() -> SessionFactorsReranker:
    learner = SessionFactorsReranker(SessionFactorsConfig(n_factors=8))
    learner.learn_many(two_tastes())
    return learner


def test_it_is_a_learner() -> None:
    assert isinstance(SessionFactorsReranker(), CandidateLearner)


def test_equal_weights_of_any_size_give_the_same() -> None:
    """A shop that sells and tells of no views: its purchases of weight 5 teach what views would."""
    light, heavy = (SessionFactorsReranker(SessionFactorsConfig(n_factors=8)) for _ in range(2))
    stream = two_tastes(2000)
    light.learn_many(stream)
    heavy.learn_many(replace(stream, weight=stream.weight * np.float32(5)))
    assert np.allclose(light.model.vectors, heavy.model.vectors, atol=1e-5)


def test_before_the_first_batch_lists_are_empty() -> None:
    lists = SessionFactorsReranker().candidates(requests([[1, 2], [NO_ROW, 3]]), 4)
    assert lists.item.tolist() == [[NO_ROW] * 4] * 2
    assert lists.reason_item.tolist() == [[NO_ROW] * 4] * 2


def test_candidates_are_ranked_by_the_session(learner: SessionFactorsReranker) -> None:
    lists = learner.candidates(requests([[13, 17], [2, 3]]), 8)
    assert (lists.item // 10).tolist() == [[1] * 8, [0] * 8]
    assert set(lists.reason_item[0]) <= {13, 17}
    assert set(lists.reason_item[1]) <= {2, 3}


def test_only_candidates_are_listed(learner: SessionFactorsReranker) -> None:
    asked = requests([[13, 17]])
    asked.candidates = np.array([[2, 12, NO_ROW, 12, 4]], np.int32)
    lists = learner.candidates(asked, 4)
    assert lists.item[0, 0] == 12
    assert sorted(lists.item[0].tolist()) == [NO_ROW, 2, 4, 12]
    asked.candidates = np.empty((1, 0), np.int32)
    assert learner.candidates(asked, 4).item.tolist() == [[NO_ROW] * 4]


def test_an_unknown_session_gets_an_empty_list(learner: SessionFactorsReranker) -> None:
    lists = learner.candidates(requests([[NO_ROW], [777]]), 3)
    assert lists.item.tolist() == [[NO_ROW] * 3] * 2
    assert lists.score.tolist() == [[0.0] * 3] * 2


def test_the_weights_of_positions_are_learned() -> None:
    """Item n leads to item n + 1: the one before the newest says what is next, the others nothing."""
    rng = np.random.default_rng(3)
    before = rng.integers(0, 20, (8000, 2))
    learner = SessionFactorsReranker(SessionFactorsConfig(n_factors=32))
    learner.learn_many(interactions(before[:, 0], (before[:, 1] + 1) % 20, context=before))
    assert np.argmax(learner.model.position_weights.log_weights[1, :2]) == 1
    second = np.arange(20)
    asked = requests(np.stack([rng.integers(0, 20, 20), second], axis=1))
    best = learner.candidates(asked, 3).item
    assert (best == (second[:, None] + 1) % 20).any(axis=1).mean() >= 0.9


def test_a_new_item_is_near_the_session_that_it_is_first_seen_in(
    learner: SessionFactorsReranker,
) -> None:
    learner.learn_many(interactions([4], [20], context=[[13, 17, NO_ROW]]))
    asked = requests([[20]])
    lists = learner.candidates(asked, 8)
    assert (lists.item[0] // 10).tolist().count(1) >= 7


def test_lists_descend_by_score_without_repeats_and_agree_with_score(
    learner: SessionFactorsReranker,
) -> None:
    asked = requests([[3, NO_ROW], [12, 15]])
    lists = learner.candidates(asked, 30)
    assert (lists.item[:, 20:] == NO_ROW).all()
    assert [len(set(row)) for row in lists.item[:, :20].tolist()] == [20] * 2
    assert (np.diff(lists.score[:, :20]) <= 0).all()
    scores = learner.score(asked, lists.item[:, :20])
    np.testing.assert_allclose(scores / scores[:, :1], lists.score[:, :20], rtol=1e-4)


def test_an_item_never_learned_scores_nothing(learner: SessionFactorsReranker) -> None:
    asked = requests([[3]])
    assert learner.score(asked, np.array([[NO_ROW, 20, 1_000_000]], np.int32)).tolist() == [[0] * 3]
    assert SessionFactorsReranker().score(asked, np.array([[3]], np.int32)).tolist() == [[0]]


def test_reads_leave_no_trace(learner: SessionFactorsReranker) -> None:
    before = snapshot(learner)
    learner.candidates(requests([[3], [50], [NO_ROW]]), 5)
    learner.score(requests([[50]]), np.array([[3, 70]], np.int32))
    assert snapshot(learner) == before


def test_a_snapshot_goes_on_bit_for_bit(learner: SessionFactorsReranker) -> None:
    restored = SessionFactorsReranker(SessionFactorsConfig(n_factors=8), seed=12345)
    restored.restore(learner.arrays())
    for seed in range(3):
        for each in (learner, restored):
            each.learn_many(two_tastes(700, seed))
    assert snapshot(restored) == snapshot(learner)


def test_a_snapshot_does_not_change_while_its_learner_goes_on(
    learner: SessionFactorsReranker,
) -> None:
    arrays = learner.arrays()
    before = {name: array.tobytes() for name, array in arrays.items()}
    learner.learn_many(two_tastes(700, 9))
    assert {name: array.tobytes() for name, array in arrays.items()} == before


def test_a_snapshot_of_other_settings_is_refused(learner: SessionFactorsReranker) -> None:
    with pytest.raises(ValueError, match="holds 8 factors, the settings ask for 64"):
        SessionFactorsReranker().restore(learner.arrays())


def test_the_same_seed_and_batches_give_the_same_arrays(learner: SessionFactorsReranker) -> None:
    again = SessionFactorsReranker(SessionFactorsConfig(n_factors=8))
    again.learn_many(two_tastes())
    assert snapshot(again) == snapshot(learner)


def test_arrays_of_former_releases_are_left_out(learner: SessionFactorsReranker) -> None:
    """Their vectors were of shoppers too, and of another kind: the learner begins anew."""
    restored = SessionFactorsReranker(SessionFactorsConfig(n_factors=8))
    older = {"users": np.zeros((3, 32), np.float32), "items": np.ones((9, 32), np.float32)}
    restored.restore(older)
    restored.learn_many(two_tastes())
    assert snapshot(restored) == snapshot(learner)


@pytest.mark.parametrize("robot", [False, True], ids=["shop of one item", "one session for all"])
def test_vectors_stay_finite_with_any_input(robot: bool) -> None:
    rng = np.random.default_rng(1)
    learner = SessionFactorsReranker()
    for _ in range(4):
        rows = rng.integers(0, 50, 2000).astype(np.int32)
        items = rows if robot else np.where(rng.random(2000) < 0.9, 0, rows)
        context = rows * 0 + 7 if robot else items
        learner.learn_many(interactions(rows, items, context=context[:, None].repeat(3, 1)))
    arrays = learner.arrays()
    np.testing.assert_allclose(np.linalg.norm(arrays["vectors"], axis=1), 1, atol=1e-3)
    assert all(np.isfinite(arrays[name]).all() for name in ("bias", "places"))


def test_results_do_not_depend_on_the_batches() -> None:
    batch = two_tastes(4 * BLOCK_EVENTS)
    whole, parts = SessionFactorsReranker(), SessionFactorsReranker()
    whole.learn_many(batch)
    for start in range(0, 4 * BLOCK_EVENTS, 2 * BLOCK_EVENTS):
        at = slice(start, start + 2 * BLOCK_EVENTS)
        parts.learn_many(
            Interactions(
                batch.shopper[at], batch.item[at], batch.kind[at],
                batch.weight[at], batch.at_ms[at], batch.context[at],
            )
        )  # fmt: skip
    assert snapshot(parts) == snapshot(whole)


def test_an_empty_batch_and_no_requests_are_answered(learner: SessionFactorsReranker) -> None:
    before = snapshot(learner)
    learner.learn_many(interactions([], []))
    assert snapshot(learner) == before
    assert learner.candidates(requests(np.zeros((0, 2))), 5).item.shape == (0, 5)
