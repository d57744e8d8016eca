"""Content: similar items are candidates as soon as their cards are known."""

from __future__ import annotations

import numpy as np
import pytest

from operators.recommend.candidates.content import Content
from operators.recommend.candidates.groups import GroupIndex
from operators.recommend.candidates.name_hashes import SIMILARITY_BY_BITS, NameHashes
from operators.recommend.standalone import StandaloneRecommender
from state.arrays import NO_ROW
from state.interactions import VIEW, EventColumns, Interactions, ItemCard, ListRequests

NOW_MS = 1_700_000_000_000
MUG, CUP = ("home", "mugs"), ("home", "cups")


def viewed(*items: int) -> Interactions:
    n = len(items)
    return Interactions(
        np.arange(n, dtype=np.int32),
        np.array(items, np.int32),
        np.zeros(n, np.int8),
        np.ones(n, np.float32),
        np.full(n, NOW_MS),
        np.full((n, 3), NO_ROW, np.int32),
    )


def like(learner: Content, *context: int, k: int = 10) -> list[int]:
    """What is listed for a shopper never seen who looked at these, newest first."""
    row = np.full((1, 3), NO_ROW, np.int32)
    row[0, : len(context)] = context
    asked = ListRequests(np.array([NO_ROW], np.int32), row, np.array([NOW_MS]))
    item = learner.candidates(asked, k).item[0]
    listed: list[int] = item[item >= 0].tolist()
    return listed


def described(*cards: ItemCard) -> Content:
    learner = Content()
    learner.update_items(np.arange(len(cards), dtype=np.int32), cards)
    return learner


def test_an_item_without_views_is_listed_with_its_category() -> None:
    learner = described(
        ItemCard(NOW_MS, None, MUG), ItemCard(NOW_MS, None, CUP), ItemCard(NOW_MS, None, MUG)
    )
    assert sorted(like(learner, 0)) == [0, 2]


def test_the_most_viewed_of_a_category_come_first() -> None:
    learner = described(*[ItemCard(NOW_MS, None, MUG)] * 3)
    learner.learn_many(viewed(2, 2, 2, 1))
    assert like(learner, 0) == [2, 1, 0]


@pytest.mark.parametrize(
    ("close", "far"),
    [
        (ItemCard(NOW_MS, None, MUG, "acme"), ItemCard(NOW_MS, None, MUG, "other")),
        (ItemCard(NOW_MS, None, MUG, None, 11.0), ItemCard(NOW_MS, None, MUG, None, 99.0)),
        (ItemCard(NOW_MS, "blue striped mug", MUG), ItemCard(NOW_MS, "plain kettle", MUG)),
    ],
    ids=["brand", "price", "name"],
)
def test_the_more_similar_item_comes_first(close: ItemCard, far: ItemCard) -> None:
    own = ItemCard(NOW_MS, "red striped mug", MUG, "acme", 10.0)
    assert like(described(far, own, close), 1) == [1, 2, 0]
    assert like(described(close, own, far), 1) == [1, 0, 2]


def test_items_of_the_brand_in_other_categories_come_after_the_own_category() -> None:
    learner = described(
        ItemCard(NOW_MS, None, MUG, "acme"),
        ItemCard(NOW_MS, None, CUP, "acme"),
        ItemCard(NOW_MS, None, MUG, "other"),
    )
    assert like(learner, 0) == [0, 2, 1]


def test_without_categories_a_word_of_the_name_makes_the_group() -> None:
    names = ["white holder", "red holder", "jam jar", "jar of glass", "blue holder"]
    learner = described(*[ItemCard(NOW_MS, name) for name in names])
    assert set(like(learner, 4)) == {0, 1, 4}
    assert not {0, 1, 4} & set(like(learner, 3))


def test_a_card_that_changed_moves_the_item() -> None:
    learner = described(
        ItemCard(NOW_MS, None, MUG), ItemCard(NOW_MS, None, MUG), ItemCard(NOW_MS, None, CUP)
    )
    learner.update_items(np.array([1], np.int32), [ItemCard(NOW_MS, None, CUP)])
    assert like(learner, 0) == [0]
    assert sorted(like(learner, 2)) == [1, 2]


def test_without_cards_there_are_no_candidates() -> None:
    learner = described(ItemCard(NOW_MS), ItemCard(NOW_MS))
    learner.learn_many(viewed(0, 1))
    assert like(learner, 0) == []


def test_the_row_of_an_empty_group_is_given_again() -> None:
    groups = GroupIndex()
    mugs, cups = groups.row("mugs"), groups.row("cups")
    groups.count(np.array([mugs, cups]), np.array([NO_ROW, NO_ROW]))
    groups.count(np.array([cups]), np.array([mugs]))
    assert groups.take_freed().tolist() == [mugs]
    assert groups.row("pots") == mugs
    assert groups.row("cups") == cups


def test_names_are_similar_by_their_rare_words() -> None:
    names = NameHashes()
    names_so_far = [f"mug number {n}" for n in range(200)]
    names_so_far += ["mug zanzibar", "kettle zanzibar", "mug kilimanjaro"]
    _, codes = names.update(names_so_far)
    rare, common = SIMILARITY_BY_BITS[np.bitwise_count(codes[200:201] ^ codes[201:])].tolist()
    assert rare > common


def test_a_new_item_is_listed_at_once_for_a_new_shopper() -> None:
    """Nobody looked at the new mug yet, and Eve never came before."""
    recommender = StandaloneRecommender()
    recommender.learn(views(*((f"ann{n}", f"mug{n % 15}") for n in range(300))))
    cards = {name: ItemCard(NOW_MS, None, MUG) for name in ("new", *(f"mug{n}" for n in range(15)))}
    recommender.learn(EventColumns([], [], [], [], [], [], [], [], cards, sorted(cards)))
    recommender.learn(views(("eve", "mug3")))
    listed = [item for item, _, _ in recommender.rank(["eve"], NOW_MS).entries()[0]]
    assert sorted(listed) == sorted([*(f"mug{n}" for n in range(15)), "new"])


def views(*rows: tuple[str, str]) -> EventColumns:
    shoppers, items = zip(*rows, strict=True)
    n = len(rows)
    none = [None] * n
    times = [NOW_MS] * n
    return EventColumns(shoppers, items, [VIEW] * n, [1.0] * n, times, times, none, none)
