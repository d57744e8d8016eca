"""The blend learns from published lists, when their shoppers click."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from operators.recommend.blend import (
    EVALUATION_RUN_EVENTS,
    FULL_EVALUATION_RUNS,
    STORE_ONE_IN,
    Blend,
)
from operators.recommend.pending_lists import LIST_EXPIRES_MS, SLOTS, PendingLists
from state.arrays import NO_ROW
from state.interactions import CART, VIEW, Interactions, ListRequests, ScoredLists, empty_lists

if TYPE_CHECKING:
    from collections.abc import Sequence

A, B, C = range(3)
ANN, BOB = range(2)
MADE_MS = 1_700_000_000_000


def listed(*items: int, times: int = 1) -> ScoredLists:
    lists = empty_lists(times, 3)
    lists.item[:, : len(items)] = items
    lists.score[:, : len(items)] = np.arange(len(items), 0, -1)
    return lists


def made(blend: Blend, shoppers: Sequence[int], first: int, second: int) -> None:
    """Shoppers get lists; each of the two learners named one item for them."""
    n = len(shoppers)
    requests = ListRequests(
        np.array(shoppers, np.int32), np.full((n, 1), C, np.int32), np.full(n, MADE_MS)
    )
    lists = [listed(first, times=n), listed(second, times=n)]
    blend.store_pending(requests, lists, np.full(n, MADE_MS))


def clicked(
    blend: Blend, *pairs: tuple[int, int], after_ms: int = 1, kind: int = VIEW, context: int = C
) -> None:
    shopper, item = np.array(pairs, np.int32).T
    n = len(pairs)
    batch = Interactions(
        shopper,
        item,
        np.full(n, kind, np.int8),
        np.ones(n, np.float32),
        np.full(n, MADE_MS + after_ms),
        np.full((n, 1), context, np.int32),
    )
    blend.update_weights(batch, at_the_moment)


def at_the_moment(requests: ListRequests) -> list[ScoredLists]:
    n = len(requests)
    return [listed(times=n), listed(times=n)]


def two() -> Blend:
    return Blend(("first", "second"), (0.5, 0.5))


def rates(blend: Blend) -> tuple[float, float, float]:
    """The number of evaluated lists, and the hits of each learner."""
    first, second = blend.hit_rates().values()
    return round(blend.evaluated, 2), round(first, 2), round(second, 2)


def test_a_click_is_compared_with_the_candidates_of_the_published_list() -> None:
    blend = two()
    made(blend, [ANN], A, B)
    clicked(blend, (ANN, B))
    assert rates(blend) == (1, 0, 1)


def test_a_list_is_evaluated_once() -> None:
    blend = two()
    made(blend, [ANN], A, B)
    clicked(blend, (ANN, B), (ANN, A), (BOB, A))
    clicked(blend, (ANN, A))
    assert rates(blend) == (1, 0, 1)


def test_the_newest_list_replaces_the_one_before() -> None:
    blend = two()
    made(blend, [ANN], A, B)
    made(blend, [ANN], B, A)
    clicked(blend, (ANN, B))
    assert rates(blend) == (1, 1, 0)


@pytest.mark.parametrize("after_ms", [-1, LIST_EXPIRES_MS])
def test_a_click_before_the_list_and_one_after_it_expired_are_no_cases(after_ms: int) -> None:
    blend = two()
    made(blend, [ANN], A, B)
    clicked(blend, (ANN, B), after_ms=after_ms)
    clicked(blend, (ANN, B))
    assert blend.evaluated == 0


def test_the_cart_of_an_item_of_the_session_is_no_case() -> None:
    blend = two()
    made(blend, [ANN], A, B)
    clicked(blend, (ANN, C), kind=CART)
    assert blend.evaluated == 0


def test_before_the_first_list_the_candidates_of_the_moment_are_evaluated() -> None:
    blend = two()
    clicked(blend, (ANN, B), (ANN, A))
    assert rates(blend) == (2, 0, 0)


def test_the_learner_that_is_right_when_lists_are_read_gets_the_weight() -> None:
    blend = two()
    for _ in range(300):
        made(blend, [ANN, BOB], A, B)
        clicked(blend, (ANN, B), (BOB, B))
    first, second = blend.weights()
    assert second > 0.9 > 0.1 > first


def test_removed_shoppers_have_no_list_and_removed_items_are_in_none() -> None:
    blend = two()
    made(blend, [ANN, BOB], A, B)
    blend.pending_lists.remove_shoppers(np.array([ANN, 7, SLOTS + BOB], np.int32))
    blend.pending_lists.remove_items(np.array([B], np.int32))
    clicked(blend, (ANN, A), (BOB, B))
    assert rates(blend) == (1, 0, 0)


def test_the_kept_lists_are_a_bounded_sample() -> None:
    blend = two()
    blend.events = EVALUATION_RUN_EVENTS * FULL_EVALUATION_RUNS * STORE_ONE_IN
    everybody = range(2 * STORE_ONE_IN * SLOTS)
    for start in range(0, len(everybody), SLOTS):
        made(blend, everybody[start : start + SLOTS], A, B)
    assert blend.pending_lists.slots <= SLOTS
    shopper, at_ms = np.arange(16_000, dtype=np.int32), np.full(16_000, MADE_MS)
    samples = [PendingLists.sample(shopper, at_ms + 1000 * second, 16) for second in range(16)]
    assert {len(sample) for sample in samples} == {1000}
    assert len(np.unique(np.concatenate(samples))) > 10_000


def test_a_restored_table_has_the_same_lists() -> None:
    blend, restored, later = two(), two(), Blend(("second", "third"), (0.5, 0.5))
    made(blend, [ANN, BOB], A, B)
    clicked(blend, (BOB, B))
    for one in (restored, later):
        one.restore(blend.arrays())
        one.pending_lists.restore(blend.pending_lists.arrays())
    for one in (blend, restored, later):
        clicked(one, (ANN, B), (BOB, B))
    assert rates(restored) == rates(blend) == (2, 0, 1)
    assert later.hit_rates() == {"second": 1, "third": 0}
    for ours, theirs in ((blend, restored), (blend.pending_lists, restored.pending_lists)):
        stored = theirs.arrays()
        for name, array in ours.arrays().items():
            assert np.array_equal(stored[name], array), name


def test_only_changed_slots_are_dirty() -> None:
    blend = two()
    made(blend, range(100), A, B)
    [table] = blend.pending_lists.tables()
    assert table.dirty_rows is not None
    assert len(table.dirty_rows.take_dirty(blend.pending_lists.slots)) == 100
    clicked(blend, (7, B), (9, A))
    assert table.dirty_rows.take_dirty(blend.pending_lists.slots).tolist() == [7, 9]


@pytest.mark.parametrize("size", [1, 7, 100])
def test_steps_do_not_depend_on_the_batches(size: int) -> None:
    draw = np.random.default_rng(3)
    came = draw.integers(0, 3, 400).tolist()
    whole, cut = two(), two()
    for blend, parts in ((whole, 400), (cut, size)):
        made(blend, range(400), A, B)
        for start in range(0, 400, parts):
            clicked(blend, *list(enumerate(came))[start : start + parts])
    assert whole.weights() == pytest.approx(cut.weights(), rel=1e-5)
    assert whole.weights().tolist() != two().weights().tolist()


def test_unknown_shoppers_are_not_in_the_sample() -> None:
    blend = two()
    made(blend, [NO_ROW], A, B)
    assert blend.pending_lists.slots == 0
