"""Every list rule as a specification: a list in, the whole list out.

Items are letters with the card `CARDS`; a list is (item, score), best first.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec.structs import replace

from operators.catalogue.item_features import ItemFeatures
from operators.recommend.candidates.popularity import Popularity
from operators.recommend.rules.base import ItemFilter, Reranker
from operators.recommend.rules.fallback import PopularFallback
from operators.recommend.rules.rules import RuleChain
from state import config_lists
from state.arrays import NO_ROW
from state.interactions import (
    PURCHASE,
    Interactions,
    ItemCard,
    ListRequests,
    RowIndex,
    ScoredLists,
    empty_lists,
)

NOW_MS = 1_700_000_000_000
ANN = 0
OWN_BRAND = -9
ITEMS = "abcdefgh"
CARDS = {
    "a": ItemCard(NOW_MS, None, ("mugs",), "Bee", 10.0),
    "b": ItemCard(NOW_MS, None, ("mugs",), "Bee", 11.0),
    "c": ItemCard(NOW_MS, None, ("mugs",), "Ours", 90.0),
    "d": ItemCard(NOW_MS, None, ("pots",), "Ours", 30.0),
    "e": ItemCard(NOW_MS, None, (), None, None),
}
POPULAR = "hgfe"
LIST = [("a", 0.4), ("b", 0.3), ("c", 0.2), ("d", 0.1)]


def chain(sold_out: str = "", bought: str = "", **rules: Any) -> RuleChain:
    """The rules of a shop where `h` is the most popular item and Ann bought some items an hour ago."""
    items = RowIndex()
    rows = items.get_or_add_many(list(ITEMS))
    features = ItemFeatures(items)
    cards = dict(CARDS)
    for item in sold_out:
        cards[item] = replace(cards.get(item, ItemCard(NOW_MS)), available=False)
    features.update(rows, list(cards), cards)
    popularity = Popularity()
    popularity.learn_many(
        interactions([(row, 0) for n, row in enumerate(POPULAR) for _ in range(9 - n)])
    )
    off = {
        "already_bought": config_lists.AlreadyBought(enabled=False),
        "out_of_stock": config_lists.OutOfStock(enabled=False),
    }
    fallback = PopularFallback(popularity, features, NO_ROW, 0)
    made = RuleChain(config_lists.ListRules(**off | rules), features, fallback, OWN_BRAND)
    made.learn(interactions([(item, PURCHASE) for item in bought]))
    return made


def interactions(clicks: list[tuple[str, int]]) -> Interactions:
    n = len(clicks)
    return Interactions(
        np.full(n, ANN, np.int32),
        np.array([ITEMS.index(item) for item, _ in clicks], np.int32),
        np.array([kind for _, kind in clicks], np.int8),
        np.ones(n, np.float32),
        np.full(n, NOW_MS - 3_600_000, np.int64),
        np.full((n, 1), NO_ROW, np.int32),
    )


def listed(rules: RuleChain, k: int = 4) -> list[tuple[str, float]]:
    """`LIST` after the rules."""
    requests = ListRequests(
        np.array([ANN], np.int32), np.full((1, 1), NO_ROW, np.int32), np.array([NOW_MS])
    )
    lists: ScoredLists = empty_lists(1, rules.candidates_needed(k))
    for position, (item, score) in enumerate(LIST):
        lists.item[0, position], lists.score[0, position] = ITEMS.index(item), score
    done = rules.apply(requests, lists, k)
    pairs = zip(done.item[0].tolist(), done.score[0].tolist(), strict=True)
    return [(ITEMS[item], round(score, 2)) for item, score in pairs if item != NO_ROW]


def test_without_rules_a_list_is_as_it_was() -> None:
    assert listed(chain()) == LIST


def test_already_bought_hides_what_the_shopper_bought_and_popular_items_fill_up() -> None:
    rules = chain(bought="ac", already_bought=config_lists.AlreadyBought(wait_min=60))
    assert listed(rules) == [("b", 0.3), ("d", 0.1), ("h", 0.0), ("g", 0.0)]
    waiting = chain(bought="ac", already_bought=config_lists.AlreadyBought(wait_min=61))
    assert listed(waiting) == LIST


def test_out_of_stock_hides_sold_out_items_also_among_the_popular_ones() -> None:
    rules = chain(sold_out="bh", out_of_stock=config_lists.OutOfStock())
    assert listed(rules) == [("a", 0.4), ("c", 0.2), ("d", 0.1), ("g", 0.0)]


def test_own_brand_multiplies_scores_and_sorts_again() -> None:
    rules = chain(own_brand=config_lists.OwnBrand(brands=("Ours",), boost=3.0))
    assert listed(rules) == [("c", 0.6), ("a", 0.4), ("b", 0.3), ("d", 0.3)]


def test_diversity_puts_similar_items_behind() -> None:
    """`b` has category, brand and price of `a`; `c` has its category, `d` nothing of it."""
    rules = chain(diversity=config_lists.Diversity(weight=0.5))
    assert [item for item, _ in listed(rules)] == ["a", "d", "c", "b"]


def test_category_cap_limits_the_beginning_of_a_list() -> None:
    rules = chain(category_cap=config_lists.CategoryCap(most=1, among=3))
    assert [item for item, _ in listed(rules)] == ["a", "d", "h", "b"]


def test_every_rule_of_the_chain_has_one_of_the_two_shapes() -> None:
    rules = chain()
    assert all(isinstance(rule, ItemFilter) for rule in rules.filters)
    assert all(isinstance(rule, Reranker) for rule in rules.rerankers)
