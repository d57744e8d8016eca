"""Reasons are true: compared with the candidates of the learners, for random streams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.recommend.candidates.popularity import Popularity
from operators.recommend.candidates.registry import LEARNERS
from operators.recommend.rendering import ListRenderer
from operators.recommend.standalone import StandaloneRecommender
from serving.explain import LEARNER_TEXTS, describe_reason
from state import config_lists
from state.events import Item
from state.interactions import CART, PURCHASE, VIEW, RowIndex, ScoredLists
from tests.operators.recommend.rules.test_rules import Shop

if TYPE_CHECKING:
    from collections.abc import Sequence

K, PLACE = 6, 4
ITEMS = [f"i{n}" for n in range(16)]
SHOPPERS = ["ann", "bob", "cid", "dan"]
OURS = {"i3", "i7", "i11"}
RULED = config_lists.ListRules(
    already_bought=config_lists.AlreadyBought(wait_min=0),
    own_brand=config_lists.OwnBrand(brands=("Ours",), boost=3.0),
    category_cap=config_lists.CategoryCap(most=1, among=3),
)


class RuledShop(Shop):
    """A shop with rules and exploration, where a few items are of the own brand and one is sold out."""

    def __init__(self, rules: config_lists.ListRules, share: float) -> None:
        super().__init__(K)
        exploration = config_lists.Exploration(share=share, position=PLACE)
        self.recommender = StandaloneRecommender.from_config(
            config_lists.Lists(k=K, rules=rules, exploration=exploration)
        )
        self.update_cards(
            *(Item(name, category=(f"c{n % 4}",)) for n, name in enumerate(ITEMS)),
            *(Item(name, brand="Ours") for name in sorted(OURS)),
            Item("i5", available=False),
        )


batches = st.lists(
    st.tuples(
        st.sampled_from([VIEW, VIEW, VIEW, CART, PURCHASE]),
        st.lists(
            st.tuples(st.sampled_from(SHOPPERS), st.sampled_from(ITEMS)), min_size=1, max_size=12
        ),
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=40, deadline=None)
@given(batches, st.sampled_from([config_lists.ListRules(), RULED]), st.sampled_from([0.0, 0.7]))
def test_every_reason_is_true(
    steps: Sequence[tuple[int, list[tuple[str, str]]]], rules: config_lists.ListRules, share: float
) -> None:
    shop = RuledShop(rules, share)
    for kind, clicks in steps:
        shop.click(*clicks, kind=kind)
    *_, popularity = shop.recommender.components.learners
    assert isinstance(popularity, Popularity)
    popular = {
        item for item, *_ in shop.recommender.components.popular_lists.popular_list().entries()[0]
    } | {shop.recommender.items.ids[row] for row in popularity.top(len(ITEMS)).item[0] if row >= 0}
    for who in [*SHOPPERS, "stranger"]:
        said = _said(shop, who)
        for place, (item, _, reason) in enumerate(shop.entries(who)):
            if reason == "own_brand":
                assert rules is RULED
                assert item in OURS
                assert item in {one for one, _ in said}
            elif reason == "explored":
                assert share
                assert place == PLACE - 1
                assert item in {one for one, _ in said}
            elif reason == "popular":
                assert item in popular
            else:
                assert (item, reason) in said


def _said(shop: Shop, who: str) -> set[tuple[str, str]]:
    """What each learner lists, and why."""
    apart = shop.recommender.rank_per_learner([who], shop.at_ms)
    return {(item, reason) for name in LEARNERS for item, _, reason in apart[name].entries()[0]}


def test_an_item_has_the_reason_own_brand_only_if_it_moved_up() -> None:
    plain, ruled = (
        RuledShop(config_lists.ListRules(own_brand=own), 0)
        for own in (config_lists.OwnBrand(), config_lists.OwnBrand(brands=("Ours",), boost=3.0))
    )
    clicks = [(f"v{n}.{at}", name) for at, name in enumerate(ITEMS) for n in range(20 - at)]
    for shop in (plain, ruled):
        shop.click(*clicks)
    stood = [item for item, *_ in plain.entries("ann")]
    moved = 0
    for place, (item, _, reason) in enumerate(ruled.entries("ann")):
        came_earlier = item in OURS and (item not in stood or stood.index(item) > place)
        assert (reason == "own_brand") == came_earlier
        moved += came_earlier
    assert moved


def test_a_reason_says_whether_its_item_was_bought_or_viewed() -> None:
    """Also where the shop knows of orders only, and where what was bought may be listed again."""
    for enabled in (True, False):
        rules = config_lists.ListRules(
            already_bought=config_lists.AlreadyBought(enabled=enabled, wait_min=0, again_min=0.0)
        )
        shop = RuledShop(rules, 0)
        for n in range(30):
            shop.click((f"v{n}", "i0"), (f"v{n}", "i1"), (f"v{n}", "i2"), kind=PURCHASE)
        shop.click(("ann", "i0"), kind=PURCHASE)
        shop.click(("bob", "i0"), kind=VIEW)
        said = {who: {reason for *_, reason in shop.entries(who)} for who in ("ann", "bob")}
        assert "bought:i0" in said["ann"]
        assert "because:i0" not in said["ann"]
        assert "because:i0" in said["bob"]
        assert not any(reason.startswith("bought:") for reason in said["bob"])
        ranked = shop.recommender.rank(["ann"], shop.at_ms)
        listed = orjson.loads(ranked.json(shop.at_ms, "1")[0])["items"]
        assert [tuple(one) for one in listed] == shop.entries("ann")


@pytest.mark.parametrize("reason", ["popular", "factors", "own_brand", "explored", "because:i1"])
def test_every_reason_has_a_text(reason: str) -> None:
    text = describe_reason("i2", reason, {"i1": "Grey mug"})
    assert "suggested by" not in text
    assert text in LEARNER_TEXTS.values() or text == "because you looked at Grey mug"


def test_a_learner_without_a_text_is_named() -> None:
    words: dict[str, Any] = {name: describe_reason("i", name, {}) for name in LEARNERS}
    assert all(words.values())


def test_texts_of_items_that_are_no_more_do_not_add_up() -> None:
    """Ever new items in as few rows: lists name the present ones, and memory stays bounded."""
    items = RowIndex()
    renderer = ListRenderer(("popularity",), items)
    for generation in range(50):
        if generation:
            items.remove(np.arange(2, 4, dtype=np.int32))
        for row in range(4):
            items.get_or_add(f"item {row} of {generation if row >= 2 else 0}")
        lists = ScoredLists(
            np.array([[0, 2, 3]], np.int32),
            np.ones((1, 3), np.float32),
            np.full((1, 3), -2, np.int32),
        )
        [entries] = renderer.render(lists, "blend").entries()
        [written] = renderer.render(lists, "blend").json(1, "1")
        assert [tuple(one) for one in orjson.loads(written)["items"]] == entries
        assert {name for name, *_ in entries} == {items.ids[row] for row in (0, 2, 3)}
    assert len(renderer.id_content) < 50 * len("item 0 of 0")
