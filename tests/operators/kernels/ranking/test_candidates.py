"""The kernels that generate candidates give what their plain forms give."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.models.session_factors import SessionFactorsConfig
from operators.recommend.candidates.content import Content
from operators.recommend.candidates.covisitation import Covisitation
from operators.recommend.candidates.factors import SessionFactorsReranker
from operators.recommend.candidates.revisits import OftenVisited, Revisits
from operators.recommend.candidates.session_knn import SessionKnn
from operators.recommend.session_contexts import SessionContexts
from state.arrays import NO_ROW
from state.interactions import Interactions, ItemCard, ListRequests
from tests.reference import candidates as reference
from tests.reference import content as content_reference
from tests.reference import factors as factors_reference
from tests.reference.same_lists import assert_same_lists

if TYPE_CHECKING:
    from operators.recommend.candidates.base import CandidateLearner

SHOPPERS, ITEMS, LENGTH = 12, 15, 5
ALL = 60
"""More than any list can hold here."""
NOW_MS = 1_700_000_000_000
FEW = settings(max_examples=60, deadline=None)
seeds, lengths = st.integers(0, 2**32 - 1), st.integers(0, 300)
list_sizes = st.integers(0, 9)


def interactions(rng: np.random.Generator, n: int) -> Interactions:
    """Random clicks in order of time, in sessions that never end; few items get most of them."""
    shopper = rng.integers(0, SHOPPERS, n).astype(np.int32)
    item = np.minimum(rng.geometric(0.2, n) - 1, ITEMS - 1).astype(np.int32)
    at_ms = NOW_MS + rng.integers(0, 100_000, n).cumsum()
    context = SessionContexts(LENGTH).append(shopper, item, at_ms, np.zeros(n, np.int64))
    weight = rng.choice(np.array([1, 1, 3, 0.7], np.float32), n)
    return Interactions(shopper, item, np.zeros(n, np.int8), weight, at_ms, context)


def requests(rng: np.random.Generator) -> ListRequests:
    """Known and unknown shoppers in sessions with repeats, gaps and items beyond what is learned."""
    n = int(rng.integers(0, 8))
    context = rng.integers(NO_ROW, ITEMS + 2, (n, LENGTH)).astype(np.int32)
    shopper = rng.integers(NO_ROW, SHOPPERS + 1, n).astype(np.int32)
    return ListRequests(shopper, context, np.full(n, NOW_MS))


def taught(learner: CandidateLearner, rng: np.random.Generator, n: int) -> None:
    """Teach it n clicks; sometimes remove a shopper and an item, and teach more."""
    learner.learn_many(interactions(rng, n))
    if rng.random() < 0.3:
        learner.remove_items(np.array([1], np.int32))
        learner.remove_shoppers(np.array([2], np.int32))
        learner.learn_many(interactions(rng, n // 4))


@FEW
@given(seeds, lengths, list_sizes, st.sampled_from([1, 3, 8, 9, 64]))
def test_covisitation_is_equal_bit_for_bit(seed: int, n: int, k: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    learner = Covisitation(width=width)
    taught(learner, rng, n)
    asked = requests(rng)
    lists, expected = learner.candidates(asked, k), reference.covisitation(learner, asked, k)
    assert lists.item.tolist() == expected.item.tolist()
    assert lists.score.tobytes() == expected.score.tobytes()
    assert lists.reason_item.tolist() == expected.reason_item.tolist()


@FEW
@given(seeds, lengths, list_sizes, st.booleans())
def test_revisits_are_equal_bit_for_bit(seed: int, n: int, k: int, by_how_often: bool) -> None:
    rng = np.random.default_rng(seed)
    learner = OftenVisited() if by_how_often else Revisits()
    taught(learner, rng, n)
    asked = requests(rng)
    lists, expected = learner.candidates(asked, k), reference.revisits(learner, asked, k)
    assert lists.item.tolist() == expected.item.tolist()
    assert lists.score.tobytes() == expected.score.tobytes()
    assert lists.reason_item.tolist() == expected.reason_item.tolist()


@FEW
@given(seeds, lengths, list_sizes, st.integers(1, 6), st.integers(1, 6))
def test_session_neighbours_are_equal(
    seed: int, n: int, k: int, visitors: int, neighbours: int
) -> None:
    rng = np.random.default_rng(seed)
    learner = SessionKnn(
        clicks_per_shopper=4, visitors_per_item=visitors, neighbours=neighbours, context_items=3
    )
    taught(learner, rng, n)
    asked = requests(rng)
    assert_same_lists(learner.candidates(asked, k), reference.session_knn(learner, asked, ALL))


def card(rng: np.random.Generator, item: int) -> ItemCard:
    """Some have no category, brand, price or name."""
    return ItemCard(
        NOW_MS,
        name=str(rng.choice(["", "red mug", "blue mug large", f"cup {item % 2}"])),
        category=((), ("home", "mugs"), ("home", "cups"))[rng.integers(3)],
        brand=(None, "acme", "bolt")[rng.integers(3)],
        price=(None, 4.0, 5.0, 30.0)[rng.integers(4)],
    )


@FEW
@given(seeds, lengths, list_sizes, st.integers(1, 6))
def test_content_is_equal(seed: int, n: int, k: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    learner = Content(width=width)
    for rows in (np.arange(ITEMS), np.arange(0, ITEMS, 4)):
        learner.update_items(rows.astype(np.int32), [card(rng, row) for row in rows.tolist()])
        taught(learner, rng, n)
    asked = requests(rng)
    lists, whole = learner.candidates(asked, k), content_reference.content(learner, asked, ALL)
    assert_same_lists(lists, whole)


@FEW
@given(seeds, lengths, list_sizes, st.sampled_from([1, 7, 64]))
def test_the_order_by_factors_is_equal(seed: int, n: int, k: int, factors: int) -> None:
    rng = np.random.default_rng(seed)
    learner = SessionFactorsReranker(SessionFactorsConfig(n_factors=factors, context_max=3))
    taught(learner, rng, n)
    asked = requests(rng)
    width = int(rng.integers(0, 12))
    asked.candidates = rng.integers(NO_ROW, ITEMS + 2, (len(asked), width)).astype(np.int32)
    lists = learner.candidates(asked, k)
    assert_same_lists(lists, factors_reference.rerank(learner.model, asked, ALL), 1e-4)
