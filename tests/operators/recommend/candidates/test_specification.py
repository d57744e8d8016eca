"""Every candidate generator as a specification: clicks in, the whole list of candidates out.

Items are letters, the running session is oldest first. An entry is (item, score, reason).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.candidates.content import Content
from operators.recommend.candidates.covisitation import Covisitation
from operators.recommend.candidates.factors import SessionFactorsReranker
from operators.recommend.candidates.popularity import Popularity
from operators.recommend.candidates.registry import LEARNERS
from operators.recommend.candidates.revisits import OftenVisited, Revisits
from operators.recommend.candidates.session_knn import SessionKnn
from operators.recommend.session_contexts import SessionContexts
from state.arrays import NO_ROW
from state.interactions import Interactions, ItemCard, ListRequests

if TYPE_CHECKING:
    from operators.recommend.candidates.base import CandidateLearner

NOW_MS = 1_700_000_000_000
ITEMS = "abcdefgh"
ME = 99
Entry = tuple[str, float, str]


def learn(learner: CandidateLearner, *sessions: str) -> None:
    """Each session is one shopper's views, a second apart; sessions follow each other."""
    contexts = SessionContexts(10)
    clicks = [(who, ITEMS.index(item)) for who, session in enumerate(sessions) for item in session]
    shopper, item = np.array(clicks, np.int32).T
    n = len(clicks)
    at_ms = NOW_MS + 1000 * np.arange(n, dtype=np.int64)
    context = contexts.append(shopper, item, at_ms, np.full(n, NOW_MS))
    kind, weight = np.zeros(n, np.int8), np.ones(n, np.float32)
    learner.learn_many(Interactions(shopper, item, kind, weight, at_ms, context))


def candidates(
    learner: CandidateLearner, session: str, others: str = "", k: int = 4
) -> list[Entry]:
    """What the learner generates for a new shopper with this session; `others` for a reranker."""
    context = np.full((1, 10), NO_ROW, np.int32)
    context[0, : len(session)] = [ITEMS.index(item) for item in reversed(session)]
    generated = np.array([[ITEMS.index(item) for item in others]], np.int32).reshape(1, -1)
    requests = ListRequests(np.array([ME], np.int32), context, np.array([NOW_MS]), generated)
    lists = learner.candidates(requests, k)
    names = [*ITEMS, ""]
    columns = (lists.item[0], lists.score[0], lists.reason_item[0])
    return [
        (names[item], round(score, 3), names[reason])
        for item, score, reason in zip(*(column.tolist() for column in columns), strict=True)
        if item != NO_ROW
    ]


def test_covisitation_sums_the_transition_shares_of_the_session() -> None:
    """After `a` came `b` twice and `c` once; before it came nothing. `b` leads to `a` half as much."""
    learner = Covisitation()
    learn(learner, "ab", "ab", "ac")
    # The newest item counts 1 of 1 + .4 + .16 + .064, the one before .4 of it.
    assert candidates(learner, "a") == [("b", 0.411, "a"), ("c", 0.205, "a")]
    assert candidates(learner, "ab") == [("a", 0.616, "b"), ("b", 0.164, "a"), ("c", 0.082, "a")]


def test_session_neighbours_bring_what_they_viewed_beside_the_shared_item() -> None:
    """Two neighbours viewed `a`. What came after it counts most, then `a` itself, which both have."""
    learner = SessionKnn()
    learn(learner, "ba", "ac")
    listed = candidates(learner, "a")
    assert [(item, reason) for item, _, reason in listed] == [("c", "a"), ("a", "a"), ("b", "a")]
    assert candidates(learner, "d") == []


def test_revisits_are_the_items_of_the_session_newest_first() -> None:
    learner = Revisits(step_decay=0.5)
    learn(learner, "abc")
    assert candidates(learner, "abca") == [("a", 1.0, "a"), ("c", 0.5, "c"), ("b", 0.25, "b")]
    assert candidates(learner, "d") == [], "nobody ever viewed it"


def test_often_visited_are_the_items_of_the_session_by_how_often_and_how_lately() -> None:
    """A click n steps back counts 1/(n + 1) here: `a` has 1/2 and 1/5, `b` 1/3 and 1/4."""
    learner = OftenVisited(exponent=1.0)
    learn(learner, "abc")
    assert candidates(learner, "abbac") == [("c", 1.0, "c"), ("a", 0.7, "a"), ("b", 0.583, "b")]
    assert candidates(learner, "d") == [], "nobody ever viewed it"


def test_popularity_lists_the_share_of_all_views() -> None:
    learner = Popularity()
    learn(learner, "aab", "ac")
    assert candidates(learner, "b", k=3) == [("a", 0.6, ""), ("c", 0.2, ""), ("b", 0.2, "")]


def test_content_lists_similar_items_before_anyone_viewed_them() -> None:
    """`b` is like `a` in category and price, `c` in category, `d` in nothing."""
    learner = Content()
    cards = [
        ItemCard(NOW_MS, None, ("mugs",), None, 10.0),
        ItemCard(NOW_MS, None, ("mugs",), None, 10.0),
        ItemCard(NOW_MS, None, ("mugs",), None, 90.0),
        ItemCard(NOW_MS, None, ("pots",), None, 10.0),
    ]
    learner.update_items(np.arange(4, dtype=np.int32), cards)
    listed = candidates(learner, "a")
    assert [(item, reason) for item, _, reason in listed] == [("a", "a"), ("b", "a"), ("c", "a")]
    assert listed[0][1] == listed[1][1] > listed[2][1]


def test_session_factors_rank_the_candidates_of_the_others() -> None:
    """`a` and `b` are viewed together, and so are `c` and `d`."""
    learner = SessionFactorsReranker()
    learn(learner, *["ab", "cd", "ba", "dc"] * 300)
    listed = candidates(learner, "a", others="bcdd")
    assert listed[0] == ("b", 1.0, "a")
    assert sorted(item for item, *_ in listed) == ["b", "c", "d"]
    assert candidates(learner, "a") == [], "without candidates there is nothing to rank"


def test_every_generator_of_the_registry_has_its_specification_here() -> None:
    here: set[object] = {Covisitation, SessionKnn, Revisits, OftenVisited, Content, Popularity}
    assert set(LEARNERS.values()) == here | {SessionFactorsReranker}
