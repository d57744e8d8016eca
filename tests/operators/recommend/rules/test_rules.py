"""The rules of a list in a shop: what each does, and that lists keep their promises with all of them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from operators.catalogue.item_cards import ItemCards
from operators.recommend.standalone import StandaloneRecommender
from state import config_lists
from state.entries import ItemUpdate
from state.events import Item
from state.interactions import PURCHASE, VIEW, EventColumns
from tests import removals
from tests.restored import assert_same_state, restore

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW_MS = 1_700_000_000_000
DAY_MS = 86_400_000
HOUR_MS = 3_600_000


class Shop:
    """A recommender with rules, its cards, and a short way to say what happens."""

    def __init__(
        self,
        k: int = 5,
        *,
        allow_repeats: bool = True,
        exploration: config_lists.Exploration | None = None,
        **rules: Any,
    ) -> None:
        chosen = config_lists.ListRules(**{"already_bought": AT_ONCE} | rules)
        self.recommender = StandaloneRecommender.from_config(
            config_lists.Lists(
                k=k,
                allow_repeats=allow_repeats,
                rules=chosen,
                exploration=exploration or config_lists.Exploration(),
            )
        )
        self.cards = ItemCards()
        self.at_ms = NOW_MS

    def update_cards(self, *items: Item) -> None:
        """The catalogue says something of items."""
        self.at_ms += 1
        self.cards.update(ItemUpdate(self.at_ms, item, "") for item in items)
        self._learn([], VIEW)

    def click(self, *clicks: tuple[str, str], kind: int = VIEW) -> None:
        """Shoppers look at items, or buy them."""
        self._learn(clicks, kind)

    def list_of(self, shopper: str) -> list[str]:
        return [item for item, _, _ in self.entries(shopper)]

    def entries(self, shopper: str) -> list[tuple[str, float, str]]:
        return self.recommender.rank([shopper], self.at_ms).entries()[0]

    def _learn(self, clicks: Sequence[tuple[str, str]], kind: int) -> None:
        n = len(clicks)
        self.at_ms += n
        self.recommender.learn(
            EventColumns(
                [who for who, _ in clicks],
                [item for _, item in clicks],
                [kind] * n,
                [1.0] * n,
                [self.at_ms - n + i for i in range(n)],
                [NOW_MS] * n,
                [None] * n,
                [None] * n,
                self.cards.by_id,
                self.cards.take_changed(),
            )
        )


def shop_of(items: int = 10, k: int = 5, **rules: Any) -> Shop:
    """Item 0 is the most popular, then item 1, and so on."""
    shop = Shop(k, **rules)
    shop.click(
        *((f"v{n}.{item}", f"i{item}") for item in range(items) for n in range(items - item))
    )
    return shop


AT_ONCE = config_lists.AlreadyBought(wait_min=0)
NO_RULES: dict[str, Any] = {}
OFF = config_lists.AlreadyBought(enabled=False)


def test_a_sold_out_item_is_in_no_list_until_it_is_available() -> None:
    shop = shop_of()
    assert shop.list_of("ann") == ["i0", "i1", "i2", "i3", "i4"]
    shop.update_cards(Item("i1", available=False), Item("i3", available=False))
    assert shop.list_of("ann") == ["i0", "i2", "i4", "i5", "i6"]
    assert [
        item for item, *_ in shop.recommender.components.popular_lists.popular_list().entries()[0]
    ] == shop.list_of("ann")
    shop.update_cards(Item("i1", available=True))
    assert shop.list_of("ann") == ["i0", "i1", "i2", "i4", "i5"]


def test_a_sold_out_item_is_listed_if_the_rule_is_off() -> None:
    shop = shop_of(out_of_stock=config_lists.OutOfStock(enabled=False))
    shop.update_cards(Item("i1", available=False))
    assert "i1" in shop.list_of("ann")


def test_a_card_counts_for_an_item_that_is_viewed_later() -> None:
    shop = shop_of()
    shop.update_cards(Item("late", available=False))
    shop.click(*(("v", "late") for _ in range(50)))
    assert "late" not in shop.list_of("ann")


def test_a_bought_item_is_not_listed_for_its_buyer() -> None:
    shop = shop_of()
    shop.click(("ann", "i0"), ("ann", "i2"), kind=PURCHASE)
    assert {"i0", "i2"}.isdisjoint(shop.list_of("ann"))
    assert len(shop.list_of("ann")) == 5
    assert "i0" in shop.list_of("bob")
    off = shop_of(already_bought=OFF)
    off.click(("ann", "i0"), ("ann", "i2"), kind=PURCHASE)
    assert {"i0", "i2"} <= set(off.list_of("ann"))


def test_a_bought_item_is_hidden_after_the_wait() -> None:
    shop = shop_of(already_bought=config_lists.AlreadyBought(wait_min=60))
    shop.click(("ann", "i0"), kind=PURCHASE)
    shop.at_ms += HOUR_MS - 60_000
    assert "i0" in shop.list_of("ann")
    shop.at_ms += 60_000
    assert "i0" not in shop.list_of("ann")


def test_an_item_that_many_buy_again_is_listed_for_its_buyers() -> None:
    shop = shop_of()
    buyers = [f"b{n}" for n in range(20)]
    shop.click(*((who, item) for who in buyers for item in ("i0", "i1")), kind=PURCHASE)
    assert {"i0", "i1"}.isdisjoint(shop.list_of("b3"))
    shop.at_ms += DAY_MS
    shop.click(*((who, "i0") for who in buyers[:10]), kind=PURCHASE)
    shop.click(("ann", "i0"), ("ann", "i1"), kind=PURCHASE)
    assert "i0" in shop.list_of("ann")
    assert "i1" not in shop.list_of("ann")


def test_an_item_twice_in_one_order_was_not_bought_again() -> None:
    shop = shop_of()
    for _ in range(3):
        shop.at_ms += HOUR_MS // 4
        shop.click(*((f"b{n}", "i0") for n in range(20)), kind=PURCHASE)
    assert "i0" not in shop.list_of("b3")


def test_an_item_with_few_buyers_takes_the_share_of_its_category() -> None:
    shop = shop_of()
    bread = [Item(f"i{n}", category=("bread",)) for n in range(4)]
    shop.update_cards(*bread, Item("i4", category=("beds",)))
    for _ in range(2):
        shop.at_ms += DAY_MS
        shop.click(*((f"b{n}", f"i{n % 3}") for n in range(60)), kind=PURCHASE)
    shop.click(*((f"c{n}", "i4") for n in range(60)), kind=PURCHASE)
    shop.click(("ann", "i3"), ("ann", "i4"), kind=PURCHASE)
    assert "i3" in shop.list_of("ann")
    assert "i4" not in shop.list_of("ann")


def test_purchases_follow_a_shopper_who_logs_in() -> None:
    shop = shop_of()
    shop.click(("cookie", "i0"), kind=PURCHASE)
    shop.click(("user", "i1"), kind=PURCHASE)
    removals.merge(shop.recommender, "cookie", "user")
    assert {"i0", "i1"}.isdisjoint(shop.list_of("user"))
    removals.merge(shop.recommender, "user")
    assert {"i0", "i1"} <= set(shop.list_of("user"))


def test_an_own_brand_comes_earlier_with_its_reason() -> None:
    shop = shop_of(own_brand=config_lists.OwnBrand(brands=("Ours",), boost=1.6))
    plain = shop.list_of("ann")
    shop.update_cards(
        Item("i3", brand="Ours"), Item("i0", brand="Ours"), Item("i1", brand="Theirs")
    )
    entries = shop.entries("ann")
    assert [item for item, *_ in entries].index("i3") < plain.index("i3")
    reasons = {item: reason for item, _, reason in entries}
    assert reasons == {
        "i0": "popular",
        "i1": "popular",
        "i2": "popular",
        "i3": "own_brand",
        "i4": "popular",
    }


def test_the_beginning_of_a_list_holds_at_most_so_many_of_a_category() -> None:
    shop = shop_of(k=6, category_cap=config_lists.CategoryCap(most=2, among=4))
    shop.update_cards(
        *(Item(f"i{n}", category=("mugs",)) for n in range(5)), Item("i6", category=("pots",))
    )
    assert shop.list_of("ann") == ["i0", "i1", "i5", "i6", "i2", "i3"]


def test_with_one_category_only_the_list_is_shorter() -> None:
    shop = shop_of(category_cap=config_lists.CategoryCap(most=1, among=5))
    shop.update_cards(*(Item(f"i{n}", category=("mugs",)) for n in range(10)))
    assert shop.list_of("ann") == ["i0"]
    shop.click(*(("bob", f"new {n}") for n in range(2)))
    assert shop.list_of("ann") == ["i0", "new 0", "new 1"], "without a category: in nobody's way"


def test_popular_items_of_other_categories_come_in_if_all_candidates_are_of_one() -> None:
    """All of a learner's candidates may be of the category just looked at."""
    shop = Shop(4, category_cap=config_lists.CategoryCap(most=1, among=3))
    shop.update_cards(*(Item(f"mug {n}", category=("mugs",)) for n in range(300)))
    shop.update_cards(
        *(Item(f"{one} {n}", category=(one,)) for one in ("pots", "pans") for n in range(9))
    )
    shop.click(*((f"v{n}", f"mug {n}") for n in range(300) for _ in range(3)))
    shop.click(*((f"v{n}", f"{one} {n}") for n in range(9) for one in ("pots", "pans")))
    listed = shop.list_of("v299")
    assert [name.split()[0] for name in listed[:3]].count("mug") == 1
    assert {name.split()[0] for name in listed[:3]} == {"mug", "pots", "pans"}
    assert len(listed) == 4


def test_diversity_moves_similar_items_back() -> None:
    shop = shop_of(diversity=config_lists.Diversity(weight=0.5))
    alike = {"category": ("mugs",), "brand": "Bee", "price": 9.0}
    shop.update_cards(*(Item(f"i{n}", **alike) for n in (0, 1, 2)))  # type: ignore[arg-type]
    assert shop.list_of("ann") == ["i0", "i3", "i4", "i5", "i6"]
    shop.update_cards(Item("i3", **alike | {"price": 90.0}))  # type: ignore[arg-type]
    assert shop.list_of("ann")[:2] == ["i0", "i4"]


@pytest.mark.parametrize("allow_repeats", [True, False])
def test_without_cards_and_purchases_rules_change_nothing(allow_repeats: bool) -> None:
    turned_on: dict[str, Any] = {
        "own_brand": config_lists.OwnBrand(brands=("Ours",)),
        "diversity": config_lists.Diversity(weight=0.3),
        "category_cap": config_lists.CategoryCap(most=2),
    }
    plain, ruled = (Shop(allow_repeats=allow_repeats, **rules) for rules in (NO_RULES, turned_on))
    clicks = [(f"v{n % 7}", f"i{n * n % 11}") for n in range(100)]
    for shop in (plain, ruled):
        shop.click(*clicks)
    everyone = [f"v{n}" for n in range(7)]
    assert [plain.list_of(one) for one in everyone] == [ruled.list_of(one) for one in everyone]


def test_a_restored_recommender_goes_on_with_what_was_bought() -> None:
    shop = shop_of()
    shop.click(*((f"b{n}", f"i{n % 4}") for n in range(40)), kind=PURCHASE)
    other = Shop()
    restore(shop.recommender, other.recommender)
    other.at_ms = shop.at_ms
    for one in (shop, other):
        one.click(("b1", "i5"), ("b9", "i2"), kind=PURCHASE)
    everyone = [f"b{n}" for n in range(40)]
    assert [shop.entries(one) for one in everyone] == [other.entries(one) for one in everyone]
    assert_same_state(shop.recommender, other.recommender)


brands, categories = (
    st.sampled_from([None, "Ours", "Bee"]),
    st.sampled_from([(), ("a",), ("a", "b")]),
)
facts = st.builds(
    Item,
    st.sampled_from([f"i{n}" for n in range(12)]),
    category=categories,
    brand=brands,
    price=st.sampled_from([None, 0.0, 9.0, 11.0, 90.0]),
    available=st.sampled_from([None, True, False, False]),
)
clicks = st.tuples(
    st.sampled_from(["ann", "bob", "cid"]), st.sampled_from([f"i{n}" for n in range(12)])
)
steps = st.lists(
    st.one_of(facts, st.tuples(st.sampled_from([VIEW, PURCHASE]), st.lists(clicks, max_size=8))),
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(
    steps,
    st.integers(0, 2),
    st.integers(1, 3),
    st.floats(0, 1),
    st.sampled_from([(), ("Ours",)]),
    st.booleans(),
    st.sampled_from([0.0, 1.0]),
)
def test_a_list_is_full_and_holds_every_allowed_item_once(
    steps: list[Item | tuple[int, list[tuple[str, str]]]],
    most: int,
    among: int,
    weight: float,
    own: tuple[str, ...],
    allow_repeats: bool,
    explored: float,
) -> None:
    """Sold out, bought or, where repeats are not allowed, just looked at: in none. All else may be,
    at most `most` of a category among the first `among`."""
    shop = Shop(
        4,
        allow_repeats=allow_repeats,
        exploration=config_lists.Exploration(share=explored, position=4),
        already_bought=config_lists.AlreadyBought(wait_min=0, again_min=1),
        category_cap=config_lists.CategoryCap(most=most, among=among),
        diversity=config_lists.Diversity(weight=weight),
        own_brand=config_lists.OwnBrand(brands=own),
    )
    bought: set[tuple[str, str]] = set()
    known: set[str] = set()
    for step in steps:
        if isinstance(step, Item):
            shop.update_cards(step)
            continue
        kind, some = step
        shop.click(*some, kind=kind)
        known |= {item for _, item in some}
        bought |= set(some) if kind == PURCHASE else set()
    gone = {name for name, card in shop.cards.by_id.items() if card.available is False}
    category = {name: card.category for name, card in shop.cards.by_id.items()}
    for who in ("ann", "bob", "cid"):
        listed = shop.list_of(who)
        had = {item for buyer, item in bought if buyer == who}
        context = shop.recommender.components.session_contexts.lookup(
            np.array([shop.recommender.shoppers.get(who)], np.int32)
        )[0]
        seen = {shop.recommender.items.ids[row] for row in context if row >= 0}
        must_not = gone | had | (set() if allow_repeats else seen)
        # An item without views may be listed because of its card, but need not.
        assert set(listed) <= (known | {*shop.cards.by_id}) - must_not
        may = known - must_not
        fits = len(may)
        if most:
            first = Counter(category.get(item, ()) for item in listed[:among])
            assert max([first[kind] for kind in first if kind], default=0) <= most
            of_kind = Counter(category.get(item, ()) for item in may)
            fits = sum(min(n, most) if kind else n for kind, n in of_kind.items())
            fits = len(may) if fits >= among else fits
        assert len(listed) == len(set(listed)) >= min(4, fits)
        scores = [score for _, score, _ in shop.entries(who)]
        assert scores == sorted(scores, reverse=True)
