"""The ring of recent views: who viewed an item, most recent first."""

from __future__ import annotations

import numpy as np

from operators.catalogue.recent_views import RecentViews


def viewers(views: RecentViews) -> list[int]:
    rows: list[int] = views.lookup(np.array([0], np.int32)).viewers_of(0, 0, 100, 9).tolist()
    return rows


def test_views_do_not_belong_to_the_next_owner_of_a_row() -> None:
    views = RecentViews(10)
    row, item = np.array([0], np.int32), np.array([0], np.int32)
    no = np.array([False])
    views.add(row, item, np.array([5]), no)
    views.release("shopper", row, 7)
    assert viewers(views) == []
    views.add(row, item, np.array([8]), no)
    assert viewers(views) == [0]
    views.release("item", item, 9)
    assert viewers(views) == []


def test_a_ring_continues_with_a_larger_or_smaller_limit() -> None:
    def add(views: RecentViews, shopper: int) -> None:
        views.add(
            np.array([shopper], np.int32),
            np.array([0], np.int32),
            np.array([shopper + 1]),
            np.array([False]),
        )

    views = RecentViews(3)
    for shopper in range(4):
        add(views, shopper)
    for limit, expected in ((3, [4, 3, 2]), (2, [4, 3, 2]), (4, [4, 3, 2, 1])):
        resumed = RecentViews(limit)
        resumed.restore(views.arrays())
        add(resumed, 4)
        assert viewers(resumed) == expected


def test_viewers_are_those_of_a_span_of_time_who_did_not_buy_most_recent_first() -> None:
    views = RecentViews(20)
    views.add(
        np.array([0, 1, 2, 3, 1, 4], np.int32),
        np.zeros(6, np.int32),
        np.array([10, 20, 30, 40, 50, 60]),
        np.array([False, False, True, False, False, False]),
    )
    found = views.lookup(np.array([0], np.int32))
    assert found.viewers_of(0, after_ms=10, before_ms=60, limit=9).tolist() == [1, 3]
    assert found.viewers_of(0, after_ms=0, before_ms=99, limit=3).tolist() == [4, 1, 3]
    assert found.viewers_of(1, after_ms=0, before_ms=99, limit=9).tolist() == []


def test_a_merged_shopper_s_views_belong_to_the_user() -> None:
    views = RecentViews(9)
    views.add(
        np.array([0, 1], np.int32), np.zeros(2, np.int32), np.array([5, 6]), np.array([False] * 2)
    )
    views.reassign(0, 7)
    assert viewers(views) == [1, 7]
