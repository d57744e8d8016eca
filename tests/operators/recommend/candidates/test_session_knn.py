"""Session neighbours and revisits: who is a neighbour, and what they bring."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.candidates.revisits import OftenVisited, Revisits
from operators.recommend.candidates.session_knn import SessionKnn
from operators.recommend.session_contexts import SessionContexts
from state.arrays import NO_ROW
from state.interactions import Interactions, ListRequests

if TYPE_CHECKING:
    from operators.recommend.candidates.base import CandidateLearner

MUG, CUP, POT, LID, TEA, JAR = range(6)
ANN, BOB, EVE, JOE = range(4)


def learned(learner: CandidateLearner, *clicks: tuple[int, int]) -> CandidateLearner:
    """A learner that saw (shopper, item) one after another, each shopper in one session."""
    shopper, item = np.array(clicks, np.int32).T
    at_ms = np.arange(len(clicks))
    context = SessionContexts(5).append(shopper, item, at_ms, np.zeros_like(at_ms))
    kind, weight = np.zeros(len(clicks), np.int8), np.ones(len(clicks), np.float32)
    learner.learn_many(Interactions(shopper, item, kind, weight, at_ms, context))
    return learner


def listed(learner: CandidateLearner, *session: int, shopper: int = NO_ROW) -> list[int]:
    """The list for a session, its items oldest first."""
    context = np.full((1, 5), NO_ROW, np.int32)
    context[0, : len(session)] = session[::-1]
    requests = ListRequests(np.array([shopper], np.int32), context, np.array([0]))
    return [item for item in learner.candidates(requests, 6).item[0].tolist() if item != NO_ROW]


def test_items_after_the_shared_item_come_before_items_before_it() -> None:
    knn = learned(SessionKnn(), (ANN, POT), (ANN, MUG), (ANN, CUP), (ANN, TEA))
    assert listed(knn, MUG) == [CUP, TEA, POT, MUG]


def test_a_neighbour_who_shares_more_of_the_session_counts_more() -> None:
    knn = learned(
        SessionKnn(), (ANN, MUG), (ANN, CUP), (ANN, POT), (BOB, JAR), (BOB, CUP), (BOB, LID)
    )
    assert listed(knn, MUG, CUP)[0] == POT


def test_newer_neighbours_count_more() -> None:
    knn = learned(SessionKnn(), (ANN, MUG), (ANN, POT), (BOB, MUG), (BOB, LID))
    assert listed(knn, MUG)[:2] == [LID, POT]


def test_nobody_is_their_own_neighbour() -> None:
    knn = learned(SessionKnn(), (ANN, MUG), (ANN, POT), (BOB, MUG), (BOB, LID))
    assert listed(knn, MUG, shopper=BOB) == [POT, MUG]


def test_an_item_keeps_its_newest_visitors_only() -> None:
    clicks = [
        (who, item) for who, last in ((ANN, POT), (BOB, LID), (EVE, TEA)) for item in (MUG, last)
    ]
    assert listed(learned(SessionKnn(visitors_per_item=2), *clicks), MUG) == [TEA, LID, MUG]


def test_a_row_given_to_another_shopper_brings_no_false_neighbour() -> None:
    knn = learned(SessionKnn(), (ANN, MUG), (ANN, POT))
    knn.remove_shoppers(np.array([ANN], np.int32))
    assert listed(learned(knn, (ANN, TEA), (ANN, JAR)), MUG) == []


def test_revisits_are_listed_newest_first_and_once() -> None:
    again = learned(Revisits(), (ANN, MUG), (ANN, CUP), (ANN, POT))
    assert listed(again, MUG, CUP, MUG, POT) == [POT, MUG, CUP]


def test_often_visited_items_come_before_newer_ones() -> None:
    often = learned(OftenVisited(), (ANN, MUG), (ANN, CUP), (ANN, POT))
    assert listed(often, MUG, CUP, MUG, POT) == [MUG, POT, CUP]


def test_a_removed_item_is_no_revisit() -> None:
    again = learned(Revisits(), (ANN, MUG), (ANN, CUP))
    again.remove_items(np.array([MUG], np.int32))
    assert listed(again, MUG, CUP) == [CUP]


def test_each_visit_of_a_shopper_counts_as_often_as_items_of_a_session_do_at_most() -> None:
    """Between two visits to the mug, which are both in its ring, Ann clicked more than is kept of her.

    Both count where two items of a session do, so she is nearer than Bob, who came later.
    """
    clicks = ((ANN, MUG), (ANN, JAR), (ANN, LID), (ANN, MUG), (ANN, POT), (BOB, MUG), (BOB, CUP))
    for context_items, expected in ((1, [CUP, MUG]), (2, [POT, MUG])):
        knn = SessionKnn(clicks_per_shopper=2, neighbours=1, context_items=context_items)
        assert listed(learned(knn, *clicks), MUG) == expected
