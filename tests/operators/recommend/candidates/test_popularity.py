"""Popularity: decayed views, in the whole shop and in each scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from operators.recommend.candidates.popularity import Popularity
from operators.recommend.candidates.scoped_popularity import ScopedPopularity
from state.arrays import NO_ROW
from state.interactions import Interactions, ScoredLists

if TYPE_CHECKING:
    from state.arrays import Rows

DAY_MS = 24 * 3600 * 1000


def views(items: list[int], at_ms: int = 0, weight: float = 1.0) -> Interactions:
    n = len(items)
    return Interactions(
        np.zeros(n, np.int32),
        np.array(items, np.int32),
        np.zeros(n, np.int8),
        np.full(n, weight, np.float32),
        np.full(n, at_ms, np.int64),
        np.full((n, 1), NO_ROW, np.int32),
    )


def entries(lists: ScoredLists, row: int = 0) -> list[tuple[int, float]]:
    pairs = zip(lists.item[row].tolist(), lists.score[row].tolist(), strict=True)
    return [(item, round(score, 3)) for item, score in pairs if item != NO_ROW]


def columns(*rows: tuple[int, int]) -> tuple[Rows, Rows]:
    scope, item = np.array(rows, np.int32).T
    return scope, item


def scoped(*rows: tuple[int, int], at_ms: int = 0, width: int = 100) -> ScopedPopularity:
    learner = ScopedPopularity(width=width)
    n = len(rows)
    learner.learn_many(*columns(*rows), np.ones(n, np.float32), np.full(n, at_ms, np.int64))
    return learner


def test_the_most_viewed_come_first_with_their_share() -> None:
    learner = Popularity()
    learner.learn_many(views([3, 1, 3, 5]))
    assert entries(learner.top(2)) == [(3, 0.5), (1, 0.25)]
    assert entries(learner.top(9)) == [(3, 0.5), (1, 0.25), (5, 0.25)]


def test_a_weight_counts_as_many_events() -> None:
    learner = Popularity()
    learner.learn_many(views([1, 1, 1]))
    learner.learn_many(views([2], weight=5))
    assert entries(learner.top(2)) == [(2, 0.625), (1, 0.375)]


def test_yesterday_counts_half_with_a_half_life_of_a_day() -> None:
    learner = Popularity(half_life_ms=DAY_MS)
    learner.learn_many(views([1]))
    learner.learn_many(views([2], at_ms=DAY_MS))
    assert entries(learner.top(2)) == [(2, 0.667), (1, 0.333)]


def test_a_late_event_counts_what_it_would_have_counted_by_now() -> None:
    learner = Popularity(half_life_ms=DAY_MS)
    learner.learn_many(views([2], at_ms=DAY_MS))
    learner.learn_many(views([1]))
    assert entries(learner.top(2)) == [(2, 0.667), (1, 0.333)]


def test_after_years_the_order_is_the_same_and_nothing_overflows() -> None:
    learner = Popularity(half_life_ms=DAY_MS)
    for day in range(0, 3000, 30):
        learner.learn_many(views([day % 7, 8, 8], at_ms=day * DAY_MS))
    assert entries(learner.top(1)) == [(8, 0.667)]


def test_a_new_half_life_keeps_the_weights_of_that_moment() -> None:
    before = Popularity(half_life_ms=DAY_MS)
    for day in range(21):
        before.learn_many(views([1, 1, 2], at_ms=day * DAY_MS))
    for half_life_ms in (DAY_MS, 7 * DAY_MS, DAY_MS // 24):
        after = Popularity(half_life_ms=half_life_ms)
        after.restore(before.arrays())
        at_ms = 20 * DAY_MS
        assert after.clock.decode_scale(at_ms) == pytest.approx(before.clock.decode_scale(at_ms))
        after.learn_many(views([3] * 4, at_ms=at_ms))
        # Two a day, halved daily, are four by now.
        counts = dict(entries(after.top(3)))
        assert counts[1] == pytest.approx(counts[3], abs=0.001)
        after.learn_many(views([4] * 2, at_ms=at_ms + half_life_ms))
        counts = dict(entries(after.top(9)))
        assert counts[1] == pytest.approx(counts[4], abs=0.001)


def test_a_former_release_stored_no_half_life() -> None:
    learner, restored = Popularity(), Popularity()
    learner.learn_many(views([1, 2]))
    arrays = dict(learner.arrays())
    restored.restore({**arrays, "origin_ms": arrays["origin_ms"][:1]})
    for one in (learner, restored):
        one.learn_many(views([2], at_ms=DAY_MS))
    assert entries(restored.top(2)) == entries(learner.top(2))


def test_an_event_counts_in_its_scope_only_and_without_one_in_none() -> None:
    learner = scoped((0, 4), (0, 4), (0, 2), (1, 9), (NO_ROW, 7))
    tops = learner.top(np.array([0, 1, 5], np.int32), 3)
    assert [entries(tops, row) for row in range(3)] == [[(4, 0.667), (2, 0.333)], [(9, 1.0)], []]


def test_changed_scopes_are_taken_once() -> None:
    learner = scoped((2, 4), (0, 4))
    assert learner.take_changed().tolist() == [0, 2]
    assert learner.take_changed().tolist() == []


def test_a_scope_keeps_its_heaviest_items_only() -> None:
    learner = scoped(*[(0, 1)] * 9, *[(0, 2)] * 8, *[(0, item) for item in range(3, 50)], width=4)
    assert [item for item, _ in entries(learner.top(np.zeros(1, np.int32), 2))] == [1, 2]
    assert learner.arrays()["partner"].shape == (1, 4)


def test_restored_scopes_go_on() -> None:
    learner, restored = scoped((0, 1), (1, 2)), ScopedPopularity()
    restored.restore(learner.arrays())
    for one in (learner, restored):
        one.learn_many(*columns((0, 3)), np.ones(1, np.float32), np.full(1, DAY_MS))
    assert entries(restored.top(np.zeros(1, np.int32), 3)) == [(3, 0.667), (1, 0.333)]
    assert restored.take_changed().tolist() == learner.take_changed().tolist() == [0, 1]
