"""Co-visitation: what leads to what, and what is bought together."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from operators.recommend.candidates.bought_together import BoughtTogether
from operators.recommend.candidates.covisitation import Covisitation
from state.arrays import NO_ROW
from state.interactions import PURCHASE, VIEW, Interactions, ListRequests, ScoredLists

if TYPE_CHECKING:
    from state.arrays import Rows

DAY_MS = 24 * 3600 * 1000
MUG, CUP, POT, PAN = range(4)
Listed = list[tuple[int, float, int]]


def views(*rows: tuple[int, list[int]], at_ms: int = 0) -> Interactions:
    """Views of an item after others, the newest of which stands first."""
    context = np.full((len(rows), 5), NO_ROW, np.int32)
    for row, (_, before) in enumerate(rows):
        context[row, : len(before)] = before
    n = len(rows)
    return Interactions(
        np.zeros(n, np.int32),
        np.array([item for item, _ in rows], np.int32),
        np.full(n, VIEW, np.int8),
        np.ones(n, np.float32),
        np.full(n, at_ms, np.int64),
        context,
    )


def purchases(*rows: tuple[int, int, int]) -> Interactions:
    """(shopper, item, at_ms) bought."""
    shopper, item, at_ms = np.array(rows).T
    return Interactions(
        shopper.astype(np.int32),
        item.astype(np.int32),
        np.full(len(rows), PURCHASE, np.int8),
        np.ones(len(rows), np.float32),
        at_ms.astype(np.int64),
        np.full((len(rows), 5), NO_ROW, np.int32),
    )


def after(*context: int) -> ListRequests:
    return ListRequests(
        np.zeros(1, np.int32), np.array([context], np.int32).reshape(1, -1), np.zeros(1, np.int64)
    )


def entries(lists: ScoredLists, row: int = 0) -> Listed:
    columns = (lists.item[row], lists.score[row], lists.reason_item[row])
    return [
        (item, round(score, 3), because)
        for item, score, because in zip(*(column.tolist() for column in columns), strict=True)
        if item != NO_ROW
    ]


def rows(values: list[int]) -> Rows:
    return np.array(values, np.int32)


def test_later_items_count_more_than_earlier_ones() -> None:
    learner = Covisitation(backward_weight=0.5)
    learner.learn_many(views((CUP, [MUG]), (POT, [CUP])))
    assert entries(learner.candidates(after(CUP), 5)) == [(POT, 0.667, CUP), (MUG, 0.333, CUP)]


def test_a_neighbour_at_distance_two_counts_half() -> None:
    learner = Covisitation()
    learner.learn_many(views((POT, [CUP, MUG]), (CUP, [MUG])))
    assert entries(learner.candidates(after(MUG), 5)) == [(CUP, 0.667, MUG), (POT, 0.333, MUG)]


def test_an_item_looked_at_twice_leads_to_itself() -> None:
    learner = Covisitation()
    learner.learn_many(views((MUG, [MUG])))
    assert entries(learner.candidates(after(MUG), 5)) == [(MUG, 1.0, MUG)]


def test_the_whole_context_counts_and_the_strongest_item_is_the_reason() -> None:
    learner = Covisitation(position_decay=0.5, backward_weight=0.0)
    learner.learn_many(views((POT, [MUG]), (POT, [CUP]), (PAN, [CUP])))
    assert entries(learner.candidates(after(MUG, CUP), 5)) == [
        (POT, 0.833, MUG),
        (PAN, 0.167, CUP),
    ]


def test_a_repeated_item_of_a_context_counts_once() -> None:
    learner = Covisitation()
    learner.learn_many(views((CUP, [MUG])))
    assert entries(learner.candidates(after(MUG, MUG), 1))[0][0] == CUP
    assert entries(learner.candidates(after(MUG, MUG), 1)) == [(CUP, 0.714, MUG)]


def test_ties_go_to_the_item_seen_first() -> None:
    learner = Covisitation()
    learner.learn_many(views((PAN, [MUG]), (CUP, [MUG]), (POT, [MUG])))
    assert [item for item, *_ in entries(learner.candidates(after(MUG), 2))] == [CUP, POT]


def test_a_transition_counts_half_after_its_half_life() -> None:
    learner = Covisitation(half_life_ms=DAY_MS, backward_weight=0.0)
    learner.learn_many(views((CUP, [MUG])))
    learner.learn_many(views((POT, [MUG]), at_ms=DAY_MS))
    assert entries(learner.candidates(after(MUG), 5)) == [(POT, 0.667, MUG), (CUP, 0.333, MUG)]


def test_neighbours_leave_out_the_item_and_changed_ones_are_taken_once() -> None:
    learner = Covisitation()
    learner.learn_many(views((MUG, [MUG]), (POT, [MUG])))
    assert learner.take_changed().tolist() == [MUG, POT]
    assert entries(learner.neighbours(rows([MUG, PAN]), 5), 0) == [(POT, 1.0, MUG)]
    assert entries(learner.neighbours(rows([MUG, PAN]), 5), 1) == []
    assert learner.take_changed().tolist() == []
    learner.learn_many(views((PAN, [POT])))
    assert learner.take_changed().tolist() == [POT, PAN]


def test_items_bought_within_the_window_are_neighbours_both_ways() -> None:
    learner = BoughtTogether(window_ms=1000)
    learner.learn_many(purchases((1, MUG, 0), (2, PAN, 0), (1, CUP, 0)))
    learner.learn_many(purchases((1, POT, 1000), (1, POT, 1000), (2, POT, 5000)))
    company = learner.neighbours(rows([MUG, CUP, POT, PAN]), 5)
    assert [[item for item, *_ in entries(company, row)] for row in range(4)] == [
        [POT, CUP],
        [POT, MUG],
        [MUG, CUP],
        [],
    ]


def test_views_are_not_purchases() -> None:
    learner = BoughtTogether()
    learner.learn_many(views((CUP, [MUG]), (POT, [CUP])))
    assert learner.take_changed().tolist() == []


def test_a_restored_basket_goes_on() -> None:
    learner, restored = BoughtTogether(), BoughtTogether()
    learner.learn_many(purchases((7, MUG, 0)))
    restored.restore(learner.arrays())
    for one in (learner, restored):
        one.learn_many(purchases((7, CUP, 10), (3, POT, 10)))
    assert all(
        np.array_equal(array, restored.arrays()[name]) for name, array in learner.arrays().items()
    )
    assert entries(restored.neighbours(rows([MUG]), 5)) == [(CUP, 1.0, MUG)]


@pytest.mark.parametrize("wrong", [{"width": 0}, {"half_life_ms": 0}])
def test_a_table_without_room_or_time_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Covisitation(**{"width": 4, "half_life_ms": 1, **wrong})
