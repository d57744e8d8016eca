"""The blend: one list out of several, weighted by the hits of the learners."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from operators.recommend.blend import EVALUATION_RUN_EVENTS, FULL_EVALUATION_RUNS, Blend
from operators.recommend.reasons import reason_code
from state.arrays import NO_ROW
from state.interactions import CART, VIEW, Interactions, ListRequests, ScoredLists, empty_lists

if TYPE_CHECKING:
    from numpy.typing import NDArray

A, B, C, D, E = range(5)


def listed(*rows: list[int], because: int = NO_ROW) -> ScoredLists:
    lists = empty_lists(len(rows), 3)
    for row, items in enumerate(rows):
        lists.item[row, : len(items)] = items
        lists.score[row, : len(items)] = np.arange(len(items), 0, -1)
        lists.reason_item[row, : len(items)] = because
    return lists


def asked(*shoppers: int) -> ListRequests:
    n = len(shoppers)
    return ListRequests(
        np.array(shoppers, np.int32), np.full((n, 1), NO_ROW, np.int32), np.zeros(n, np.int64)
    )


def clicks(*pairs: tuple[int, int]) -> Interactions:
    shopper, item = np.array(pairs, np.int32).T
    n = len(pairs)
    return Interactions(
        shopper,
        item,
        np.zeros(n, np.int8),
        np.ones(n, np.float32),
        np.zeros(n, np.int64),
        np.full((n, 1), NO_ROW, np.int32),
    )


def two(memory: int = 10_000, beliefs: tuple[float, float] = (0.6, 0.2)) -> Blend:
    return Blend(("first", "second"), beliefs, memory_events=memory)


def judged(
    blend: Blend, first: ScoredLists, second: ScoredLists, *came: int, times: int = 1
) -> None:
    """The same lists for everyone, and what came next: each of `came` in a batch, time and again."""
    n = len(came)
    lists = [
        ScoredLists(*(column.repeat(n, axis=0) for column in columns(of))) for of in (first, second)
    ]
    for _ in range(times):
        blend.update_weights(
            clicks(*((shopper, item) for shopper, item in enumerate(came))), lambda _: lists
        )


def columns(lists: ScoredLists) -> tuple[NDArray[Any], ...]:
    return lists.item, lists.score, lists.reason_item


def mixed(blend: Blend, first: ScoredLists, second: ScoredLists, k: int) -> ScoredLists:
    return blend.blend(asked(*range(len(first.item))), [first, second], k)


def entries(lists: ScoredLists) -> list[tuple[int, float, int]]:
    columns = (lists.item[0], lists.score[0], lists.reason_item[0])
    return [
        (item, round(score, 3), because)
        for item, score, because in zip(*(column.tolist() for column in columns), strict=True)
    ]


def test_scores_are_probabilities_and_an_item_of_both_lists_comes_first() -> None:
    listed_now = entries(mixed(two(beliefs=(0.4, 0.4)), listed([A, B]), listed([C, B]), k=4))
    assert [item for item, *_ in listed_now] == [B, A, C, NO_ROW]
    assert sum(score for _, score, _ in listed_now) == pytest.approx(1, abs=0.01)


def test_the_reason_is_that_of_the_learner_that_adds_most() -> None:
    lists = mixed(two(), listed([A, B], because=E), listed([C, B], because=D), k=3)
    assert sorted((item, because) for item, _, because in entries(lists)) == [
        (A, E),
        (B, E),
        (C, D),
    ]
    lists = mixed(two(), listed([A]), listed([C]), k=3)
    assert [because for *_, because in entries(lists)] == [reason_code(0), reason_code(1), NO_ROW]


def test_the_learner_that_hits_gets_the_weight() -> None:
    blend = two(beliefs=(0.5, 0.5), memory=100)
    assert blend.weights().tolist() == [0.5, 0.5]
    judged(blend, listed([A, B, C]), listed([D]), D, times=500)
    assert blend.hit_rates()["first"] < 0.03 < 0.97 < blend.hit_rates()["second"]
    assert entries(mixed(blend, listed([A]), listed([D]), 2))[0][0] == D
    judged(blend, listed([A, B, C]), listed([D]), A, times=2000)
    assert entries(mixed(blend, listed([A]), listed([D]), 2))[0][0] == A


def test_weights_differ_between_classes_of_contexts() -> None:
    """After one item the first learner is right, when the newest item came back the second is."""
    blend, lists = two(beliefs=(0.5, 0.5)), [listed([A]), listed([B])]
    moments = {A: [[C, NO_ROW, NO_ROW]], B: [[C, D, C]]}
    for _ in range(300):
        for came, context in moments.items():
            batch = clicks((7, came))
            batch.context = np.array(context, np.int32)
            blend.update_weights(batch, lambda _: lists)
    for came, context in moments.items():
        requests = ListRequests(np.array([7]), np.array(context, np.int32), np.array([0]))
        assert entries(blend.blend(requests, lists, 2))[0][0] == came


def test_no_learner_loses_all_weight() -> None:
    blend = two(beliefs=(0.5, 0.5))
    judged(blend, listed([A]), listed([D]), A, times=1000)
    assert [item for item, *_ in entries(mixed(blend, listed([A]), listed([D]), 2))] == [A, D]


def test_the_evaluated_events_do_not_depend_on_the_batches() -> None:
    asked_for: list[list[int]] = []
    all_first = EVALUATION_RUN_EVENTS * FULL_EVALUATION_RUNS
    stream = [(shopper, A) for shopper in range(2 * all_first)]
    for size in (2 * all_first, 100, 7):
        shoppers: list[int] = []

        def would_show(requests: ListRequests, shoppers: list[int] = shoppers) -> list[ScoredLists]:
            shoppers += requests.shopper.tolist()
            return [empty_lists(len(requests), 3)] * 2

        blend = two()
        for start in range(0, len(stream), size):
            blend.update_weights(clicks(*stream[start : start + size]), would_show)
        asked_for.append(shoppers)
    assert asked_for[0] == asked_for[1] == asked_for[2]
    assert asked_for[0][:all_first] == list(range(all_first))
    assert len(asked_for[0]) == all_first + all_first // 2


def test_the_cart_of_an_item_of_the_session_is_no_case() -> None:
    blend, lists = two(), [listed([A]), listed([B])]
    for kind, context, cases in ((CART, A, 0), (CART, B, 1), (VIEW, A, 2)):
        batch = clicks((7, A))
        batch.kind[:], batch.context[:] = kind, context
        blend.update_weights(batch, lambda _: lists)
        assert blend.evaluated == pytest.approx(cases, abs=0.01)


def test_a_restored_blend_learns_on() -> None:
    blend, restored = two(), two()
    judged(blend, listed([A]), listed([D]), A, D, times=10)
    restored.restore(blend.arrays())
    for one in (blend, restored):
        judged(one, listed([A]), listed([D]), D)
    assert restored.hit_rates() == blend.hit_rates()
    assert restored.weights().tolist() == blend.weights().tolist() != two().weights().tolist()
    for name, array in blend.arrays().items():
        assert np.array_equal(restored.arrays()[name], array), name


def test_learners_may_be_added_and_removed_between_runs() -> None:
    blend = two()
    judged(blend, listed([A]), listed([D]), D, times=50)
    later = Blend(("third", "second"), (0.3, 0.2))
    later.restore(blend.arrays())
    assert later.hit_rates() == {"third": 0, "second": blend.hit_rates()["second"]}
    first_release = Blend(("first",), (0.3,))
    first_release.restore({"hits": np.array([3.0]), "judged": np.array([9.0])})
    assert first_release.hit_rates() == {"first": 0}


def test_a_snapshot_of_a_release_with_diagonal_matrices_is_read() -> None:
    blend = two()
    judged(blend, listed([A]), listed([D]), D, times=50)
    now = blend.arrays()
    squares = np.einsum("sff->sf", now["moments/second/second"])
    then = {name: array for name, array in now.items() if not name.startswith("moments/")}
    later = two()
    later.restore({**then, "squares/first": 0 * squares, "squares/second": squares})
    assert np.array_equal(np.einsum("sff->sf", later.arrays()["moments/second/second"]), squares)
    assert later.weights().tolist() == blend.weights().tolist()


@pytest.mark.parametrize("beliefs", [(1, 1, 1), (1, 0), (1,)])
def test_each_learner_needs_a_prior_weight_above_0(beliefs: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="prior weight above 0"):
        Blend(("first", "second"), beliefs)
