"""From events to lists: contexts, the recommender as a whole, and its lists on real clicks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.recommend import quality
from operators.recommend.candidates.registry import LEARNERS
from operators.recommend.session_contexts import SessionContexts
from operators.recommend.standalone import StandaloneRecommender
from state import config_lists
from state.arrays import NO_ROW
from state.interactions import PURCHASE, VIEW, EventColumns
from tests import removals
from tests.restored import assert_same_state, ids_of, parts_of, restore
from tests.shared import shared_data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.arrays import Rows, Times

NOW_MS = 1_700_000_000_000
GAP_MS = 30 * 60 * 1000
Row = tuple[str, str, int]


def views(rows: Sequence[Row], *, kind: int = VIEW, category: str | None = None) -> EventColumns:
    """(shopper, item, ms after the start), each shopper in one session since the start."""
    n = len(rows)
    return EventColumns(
        [shopper for shopper, _, _ in rows],
        [item for _, item, _ in rows],
        [kind] * n,
        [1.0] * n,
        [NOW_MS + after_ms for _, _, after_ms in rows],
        [NOW_MS] * n,
        [category] * n,
        [None] * n,
    )


def shop(*, allow_repeats: bool = True) -> StandaloneRecommender:
    """A shop of 30 items where visitors looked at each of them and then at the next two."""
    recommender = StandaloneRecommender.from_config(config_lists.Lists(allow_repeats=allow_repeats))
    rows = [
        (f"visitor{n}", f"item{(n + step) % 30}", n * 1000 + step)
        for n in range(30)
        for step in range(3)
    ]
    recommender.learn(views(rows))
    return recommender


def items_of(recommender: StandaloneRecommender, shopper: str) -> list[str]:
    return [item for item, _, _ in recommender.rank([shopper], NOW_MS).entries()[0]]


def test_events_of_one_batch_see_each_other_in_order_and_what_came_before() -> None:
    contexts = SessionContexts(3)
    contexts.append(*columns((0, 9, 0), (1, 8, 0)))
    before = contexts.append(*columns((0, 5, 1), (1, 6, 1), (0, 6, 2), (0, 5, 3), (0, 4, 4)))
    assert before.tolist() == [
        [9, NO_ROW, NO_ROW],
        [8, NO_ROW, NO_ROW],
        [5, 9, NO_ROW],
        [6, 5, 9],
        [5, 6, 5],
    ]
    assert contexts.lookup(np.array([0, 1, 2, NO_ROW], np.int32)).tolist() == [
        [4, 5, 6],
        [6, 8, NO_ROW],
        [NO_ROW] * 3,
        [NO_ROW] * 3,
    ]


def columns(*rows: tuple[int, ...]) -> tuple[Rows, Rows, Times, Times]:
    """(shopper, item, at_ms, and the session's start, 0 if not given)."""
    shopper, item, at_ms, since_ms = np.array([(*row, 0)[:4] for row in rows]).T
    return shopper.astype(np.int32), item.astype(np.int32), at_ms, since_ms


def test_a_new_session_begins_with_an_empty_context() -> None:
    contexts = SessionContexts(3)
    contexts.append(*columns((0, 1, 10, 10), (0, 2, 20, 10)))
    assert contexts.append(*columns((0, 3, 30, 30), (0, 4, 40, 30))).tolist() == [
        [NO_ROW] * 3,
        [3, NO_ROW, NO_ROW],
    ]
    assert contexts.lookup(np.zeros(1, np.int32)).tolist() == [[4, 3, NO_ROW]]


def test_a_late_event_that_moves_the_start_of_a_session_does_not_end_it() -> None:
    contexts = SessionContexts(3)
    contexts.append(*columns((0, 1, 10, 10)))
    assert contexts.append(*columns((0, 2, 5, 5), (0, 3, 20, 5))).tolist() == [
        [1, NO_ROW, NO_ROW],
        [2, 1, NO_ROW],
    ]


stream = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from([0, 1, 100])), max_size=40
)


@settings(max_examples=60, deadline=None)
@given(stream, st.integers(1, 40))
def test_contexts_do_not_depend_on_the_batches(
    steps: list[tuple[int, int, int]], size: int
) -> None:
    """A pause of 100 begins a new session."""
    start: dict[int, int] = {}
    last: dict[int, int] = {}
    rows, at = [], 0
    for shopper, item, pause in steps:
        at += pause
        if at - last.get(shopper, -1000) >= 100:
            start[shopper] = at
        last[shopper] = at
        rows.append((shopper, item, at, start[shopper]))
    whole, cut = SessionContexts(4), SessionContexts(4)
    at_once = whole.append(*columns(*rows)).tolist() if rows else []
    pieces = [cut.append(*columns(*rows[n : n + size])) for n in range(0, len(rows), size)]
    assert [row for piece in pieces for row in piece.tolist()] == at_once
    everyone = np.arange(4, dtype=np.int32)
    assert np.array_equal(whole.lookup(everyone), cut.lookup(everyone))


def test_one_event_is_enough_for_a_full_list() -> None:
    recommender = shop()
    recommender.learn(views([("ann", "item3", 0)]))
    listed = items_of(recommender, "ann")
    assert len(listed) == len(set(listed)) == 20
    assert listed[0] == "item4"
    assert "item5" in listed[:4]


def test_an_unknown_shopper_gets_popular_items_and_stays_unknown() -> None:
    recommender = shop()
    recommender.learn(views([("ann", "item9", 0), ("ann", "item9", 1)]))
    entries = recommender.rank(["nobody"], NOW_MS).entries()[0]
    assert len(entries) == 20
    assert entries[0][0] == "item9"
    assert {reason for *_, reason in entries} == {"popular"}
    assert recommender.shoppers.get("nobody") == NO_ROW


def test_before_the_first_event_lists_are_empty() -> None:
    recommender = StandaloneRecommender()
    assert recommender.rank(["ann"], NOW_MS).entries() == [[]]
    assert recommender.rank([], NOW_MS).entries() == []
    assert recommender.components.popular_lists.popular_list().entries() == [[]]
    assert recommender.trainer.item_lists.take_changed_similar(NOW_MS)[0] == []


def test_every_reason_names_an_item_of_the_session_or_a_learner() -> None:
    recommender = shop()
    recommender.learn(views([("ann", "item3", 0), ("ann", "item12", 1)]))
    entries = recommender.rank(["ann"], NOW_MS).entries()[0]
    reasons = {reason for *_, reason in entries}
    assert reasons <= {"because:item3", "because:item12", "popular", "factors"}
    assert entries[0][2] == "because:item12"
    scores = [score for _, score, _ in entries]
    assert scores == sorted(scores, reverse=True)
    assert scores == [round(score, 4) for score in scores]


@pytest.mark.parametrize("allow_repeats", [True, False])
def test_items_of_the_session_are_listed_only_with_allow_repeats(
    allow_repeats: bool,
) -> None:
    recommender = shop(allow_repeats=allow_repeats)
    recommender.learn(views([("ann", "item3", 0), ("ann", "item3", 1), ("ann", "item4", 2)]))
    listed = items_of(recommender, "ann")
    assert len(listed) == 20
    assert ({"item3", "item4"} <= set(listed)) == allow_repeats
    assert ("item3" in listed) == allow_repeats


def test_a_shop_with_few_items_gets_short_lists() -> None:
    recommender = StandaloneRecommender()
    recommender.learn(views([("ann", "item1", 0), ("bob", "item2", 0)]))
    assert sorted(items_of(recommender, "ann")) == ["item1", "item2"]


def test_lists_of_many_shoppers_at_once_are_those_of_each_alone() -> None:
    recommender = shop()
    everyone = [f"visitor{n}" for n in range(30)] + ["nobody", "visitor1"]
    together = recommender.rank(everyone, NOW_MS).entries()
    assert together == [recommender.rank([one], NOW_MS).entries()[0] for one in everyone]


def test_lists_per_learner_are_the_blend_and_one_of_each() -> None:
    recommender = shop()
    apart = recommender.rank_per_learner(["visitor3"], NOW_MS)
    assert apart.keys() == {"blend", *LEARNERS}
    assert apart["blend"].entries() == recommender.rank(["visitor3"], NOW_MS).entries()
    assert apart["popularity"].entries()[0][0][2] == "popular"
    assert apart["covisitation"].source == "covisitation"


def test_a_session_follows_a_login_and_ends_with_an_erasure() -> None:
    recommender = shop()
    recommender.learn(views([("cookie", "item3", 0), ("ann", "item20", 0)]))
    before = items_of(recommender, "cookie")
    removals.merge(recommender, "cookie", "user")
    removals.merge(recommender, "ann")
    removals.merge(recommender, "nobody", "ann")
    assert items_of(recommender, "user")[0] == before[0] == "item4"
    nothing = [NO_ROW] * recommender.components.session_contexts.length
    assert recommender.trainer.shoppers.index.get("user") != NO_ROW
    assert {recommender.trainer.shoppers.index.get(name) for name in ("cookie", "ann")} == {NO_ROW}
    rows = [recommender.shoppers.get(name) for name in ("cookie", "ann")]
    assert recommender.components.session_contexts.lookup(np.array(rows, np.int32)).tolist() == [
        nothing,
        nothing,
    ]


def test_the_newer_context_of_two_merged_shoppers_stays() -> None:
    contexts = SessionContexts(2)
    contexts.append(*columns((0, 9, 10), (1, 8, 20)))
    contexts.merge(0, 1)
    assert contexts.lookup(np.arange(2, dtype=np.int32)).tolist() == [[NO_ROW] * 2, [8, NO_ROW]]


def test_changed_item_lists_and_scopes_are_taken_once() -> None:
    recommender = StandaloneRecommender()
    recommender.learn(views([("ann", "mug", 0), ("ann", "cup", 1)], category="kitchen"))
    recommender.learn(views([("bob", "pot", 0), ("bob", "pan", 1)], kind=PURCHASE))
    items, similar = recommender.trainer.item_lists.take_changed_similar(NOW_MS)
    assert dict(zip(items, similar.entries(), strict=True)) == {
        "mug": [("cup", 1.0, "because:mug")],
        "cup": [("mug", 1.0, "because:cup")],
        "pot": [("pan", 1.0, "because:pot")],
        "pan": [("pot", 1.0, "because:pan")],
    }
    items, bought = recommender.trainer.item_lists.take_changed_bought(NOW_MS)
    assert dict(zip(items, bought.entries(), strict=True)) == {
        "pot": [("pan", 1.0, "because:pot")],
        "pan": [("pot", 1.0, "because:pan")],
    }
    scopes, popular = recommender.components.popular_lists.take_changed_scopes()
    assert scopes == [("category", "kitchen")]
    assert popular.entries() == [[("mug", 0.5, "popular"), ("cup", 0.5, "popular")]]
    assert len(recommender.components.popular_lists.popular_list().entries()[0]) == 4
    of_items = recommender.trainer.item_lists
    assert of_items.take_changed_similar(NOW_MS)[0] == of_items.take_changed_bought(NOW_MS)[0] == []
    assert recommender.components.popular_lists.take_changed_scopes()[0] == []


def test_a_restored_recommender_goes_on_bit_for_bit() -> None:
    recommender, restored = shop(), StandaloneRecommender()
    recommender.rank(["visitor1", "visitor2"], NOW_MS)
    restore(recommender, restored)
    more = views([("visitor1", "item7", 90), ("new", "new item", 91), ("visitor2", "item1", 92)])
    shoppers = ["visitor1", "visitor2", "new", "nobody"]
    for one in (recommender, restored):
        one.learn(more)
    assert restored.rank(shoppers, NOW_MS).entries() == recommender.rank(shoppers, NOW_MS).entries()
    assert_same_state(recommender, restored)


@pytest.mark.slow
def test_next_clicks_of_a_real_shop_are_in_the_lists_before_them() -> None:
    figures = quality(shared_data("yoochoose_week"), StandaloneRecommender())
    hit_rate, reciprocal_rank, cases = figures["blend"]
    assert cases == 10_152
    assert hit_rate >= 0.69
    assert reciprocal_rank >= 0.37
    assert hit_rate > max(figures["factors"][0], figures["popularity"][0])


def test_a_list_as_json_is_what_any_encoder_would_make_of_its_entries() -> None:
    recommender = StandaloneRecommender.from_config(config_lists.Lists(k=5))
    odd = ['quo"te', "back\\slash", "emoji \U0001f6d2", "{a:b}%", "plain"]
    n = len(odd)
    recommender.learn(
        EventColumns(
            ["ann"] * n, odd, [VIEW] * n, [1.0] * n, range(n), [0] * n, [None] * n, [None] * n
        )
    )
    ranked = recommender.rank(["ann", "bob"], NOW_MS)
    assert [json.loads(text) for text in ranked.json(NOW_MS, "1")] == [
        {"at": NOW_MS, "model": "1", "source": "blend", "items": [list(e) for e in entries]}
        for entries in ranked.entries()
    ]
    assert all(b" " not in text.replace(b"emoji ", b"") for text in ranked.json(NOW_MS, "1"))


def test_a_snapshot_without_a_new_learner_is_restored() -> None:
    recommender, restored = shop(), StandaloneRecommender()
    for part, empty in zip(parts_of(recommender), parts_of(restored), strict=True):
        former = {
            name: array
            for name, array in part.arrays().items()
            if not name.startswith(("session_knn/", "again/", "often/", "blend/"))
        }
        former |= {"blend/hits": np.ones(3), "blend/standing": np.zeros((4096, 3, 20), np.int32)}
        empty.restore(former)
        empty.restore_ids(ids_of(part))
    restored.trainer.restore_cards({})
    restored.update_replica()
    apart = restored.rank_per_learner(["visitor3"], NOW_MS)
    assert apart["session_knn"].entries() == [[]] != apart["blend"].entries()
    restored.learn(views([("ann", "item3", 0)]))
    assert len(items_of(restored, "ann")) == 20
