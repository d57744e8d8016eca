"""Contexts for training: as of all shoppers, but nothing is kept of those who were away for a day."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from operators.recommend.candidates.bought_together import BoughtTogether
from operators.recommend.items import recent_shoppers
from operators.recommend.items.recent_shoppers import KEPT_MS, RecentShoppers
from operators.recommend.session_contexts import SessionContexts
from state.interactions import RowIndex

if TYPE_CHECKING:
    import pytest

    from state.arrays import Rows

NOW_MS = 1_700_000_000_000
LENGTH = 3
clicks = st.lists(
    st.tuples(st.sampled_from(["ann", "bob", "eve"]), st.integers(0, 5)), min_size=1, max_size=5
)


def append(shoppers: RecentShoppers, names: list[str], items: list[int], at_ms: int) -> Rows:
    times = np.full(len(names), at_ms)
    item = np.array(items, np.int32)
    return shoppers.append(names, item, times, times - 1000)[1]


@given(st.lists(clicks, max_size=6))
def test_a_ranking_side_that_stores_the_contexts_has_those_of_the_training_side(
    batches: list[list[tuple[str, int]]],
) -> None:
    recent, stored, ids = RecentShoppers(LENGTH, []), SessionContexts(LENGTH), RowIndex()
    for number, rows in enumerate(batches):
        names, items = [name for name, _ in rows], [item for _, item in rows]
        at_ms = NOW_MS + number
        context = append(recent, names, items, at_ms)
        own = ids.get_or_add_many(names)
        stored.store(own, np.array(items, np.int32), np.full(len(own), at_ms), context)
    for name, row in recent.index.row_by_id.items():
        mine, theirs = np.array([ids.get(name)], np.int32), np.array([row], np.int32)
        assert np.array_equal(stored.lookup(mine), recent.contexts.lookup(theirs))
        assert stored.newest_ms(mine, 0) == recent.contexts.newest_ms(theirs, 0)


def test_shoppers_who_were_away_for_a_day_are_removed_when_there_are_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recent_shoppers, "SHOPPERS_MIN", 4)
    bought = BoughtTogether()
    recent = RecentShoppers(LENGTH, [bought])
    append(recent, ["a", "b", "c", "d"], [1, 2, 3, 4], NOW_MS)
    recent.remove_old(NOW_MS + 2 * KEPT_MS)
    assert len(recent.index.row_by_id) == 4, "few shoppers are not looked through"
    append(recent, ["e", "a"], [5, 6], NOW_MS + 2 * KEPT_MS)
    recent.remove_old(NOW_MS + 2 * KEPT_MS)
    assert sorted(recent.index.row_by_id) == ["a", "e"]
    assert append(recent, ["b"], [7], NOW_MS + 2 * KEPT_MS).tolist() == [[-1] * LENGTH]
