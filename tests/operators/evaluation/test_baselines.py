"""Baselines compared with their definitions, written out over whole sessions."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from operators.evaluation.baselines import (
    AssociationRules,
    Baseline,
    Markov,
    PopularityBaseline,
    SequentialRules,
    SessionPopularity,
)
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Iterator

    Sessions = list[list[int]]

Rules = Markov | SequentialRules | AssociationRules
L = TypeVar("L", bound=Baseline)

SESSIONS = st.lists(st.lists(st.integers(0, 6), max_size=14), max_size=6)


def learned(learner: L, sessions: Sessions) -> L:
    for session in sessions:
        for place, item in enumerate(session):
            learner.learn(session[:place], item)
    return learner


def rules(learner: Rules) -> dict[tuple[int, int], float]:
    return {(a, b): score for a, after in learner.after.items() for b, score in after.items()}


def pairs(sessions: Sessions) -> Iterator[tuple[int, int, int]]:
    """Earlier item, later item and how many steps lie between, of each pair of clicks."""
    for session in sessions:
        for later in range(len(session)):
            for earlier in range(later):
                yield session[earlier], session[later], later - earlier


@given(SESSIONS)
def test_markov_counts_what_came_right_after(sessions: Sessions) -> None:
    expected = Counter((a, b) for a, b, steps in pairs(sessions) if steps == 1)
    assert rules(learned(Markov(), sessions)) == expected


@given(SESSIONS)
def test_sequential_rules_weigh_by_distance_up_to_ten_steps(sessions: Sessions) -> None:
    expected: defaultdict[tuple[int, int], float] = defaultdict(float)
    for a, b, steps in pairs(sessions):
        if steps <= 10:
            expected[a, b] += 1 / steps
    assert rules(learned(SequentialRules(), sessions)) == pytest.approx(expected)


@given(SESSIONS)
def test_association_rules_count_pairs_both_ways(sessions: Sessions) -> None:
    expected: Counter[tuple[int, int]] = Counter()
    for a, b, _ in pairs(sessions):
        expected[a, b] += 1
        expected[b, a] += 1
    assert rules(learned(AssociationRules(), sessions)) == expected


@given(SESSIONS, st.sets(st.integers(0, 6)))
def test_popularity_is_the_order_of_counts_after_each_click(
    sessions: Sessions, without: set[int]
) -> None:
    learner = PopularityBaseline()
    counts: Counter[int] = Counter()
    for item in (item for session in sessions for item in session):
        learner.learn([], item)
        counts[item] += 1
        listed = learner.top([], 20, without)
        assert sorted(listed) == sorted(set(counts) - without)
        assert [counts[i] for i in listed] == sorted((counts[i] for i in listed), reverse=True)
        assert learner.top([], 2, without) == listed[:2]


@given(SESSIONS, st.lists(st.integers(NO_ROW, 6), max_size=9), st.sets(st.integers(0, 6)))
def test_session_popularity_is_how_often_then_how_lately_then_the_crowd(
    sessions: Sessions, session: list[int], without: set[int]
) -> None:
    learner, popular = SessionPopularity(), PopularityBaseline()
    learned(learner, sessions)
    learned(popular, sessions)
    own = sorted(
        {*session} - {*without, NO_ROW},
        key=lambda item: (-session.count(item), session[::-1].index(item)),
    )
    listed = learner.top(session, 5, without)
    assert listed == [*own, *popular.top([], 5, {*without, *own})][:5]


def test_rules_answer_from_the_last_item_and_may_list_it_again() -> None:
    learner = learned(Markov(), [[1, 2, 2, 3], [2, 3]])
    assert learner.top([1, 2], 20, set()) == [3, 2]
    assert learner.top([1, 2], 1, set()) == [3]
    assert learner.top([1, 2], 20, {3}) == [2]
    assert learner.top([2, 9], 20, set()) == learner.top([], 20, set()) == []


def test_a_list_changes_with_what_is_learned_after_it() -> None:
    learner = learned(Markov(), [[1, 2]])
    assert learner.top([1], 20, set()) == [2]
    learned(learner, [[1, 3], [1, 3]])
    assert learner.top([1], 20, set()) == [3, 2]
