"""Similar lists: from views if an item has any with others, else from its card; and when they change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import pytest

from operators.personalize.training.items import ITEM_LISTS_MIN
from state import keys
from state.events import Item
from tests.operators.personalize.test_step import batches
from tests.personalization import Personalization
from tests.streams import arguments, event, flow_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.events import Event

RED = Item("red", category=("mugs",), price=9.0)
BLUE = Item("blue", category=("mugs",), price=10.0)
GOLD = Item("gold", category=("mugs",), price=90.0)
PAN = Item("pan", category=("pans",), price=30.0)
CARDS = (RED, BLUE, GOLD, PAN)


class Shop:
    """What is learned of a shop, and the similar lists that Redis holds of it."""

    def __init__(self) -> None:
        self.learning = Personalization(flow_settings())
        self.held: dict[str, Any] = {}
        self.written: list[int] = []
        """Similar lists written, by batch."""
        self._clock = 0

    def process(self, *of_batches: Sequence[Event]) -> None:
        for parts in batches(of_batches, live=False):
            for output in self.learning.process_batch(parts):
                published = [
                    write for write in map(arguments, output.writes) if self._is_similar(write)
                ]
                self.written.append(len(published))
                for write in published:
                    if write[0] == "SET":
                        self.held[str(write[1])] = orjson.loads(str(write[2]))
                    else:
                        self.held.pop(str(write[1]), None)

    def lists(self) -> dict[str, tuple[str, list[str], set[str]]]:
        """Source, items and reasons of each list."""
        return {
            name: (
                held["source"],
                [one[0] for one in held["items"]],
                {one[2] for one in held["items"]},
            )
            for name in (*[card.item_id for card in CARDS], "new")
            if (held := self.held.get(keys.similar_key(name)))
        }

    @staticmethod
    def _is_similar(write: Sequence[Any]) -> bool:
        return str(write[1]).endswith("}:similar")


def cards(*items: Item, at_ms: int = 0) -> list[Event]:
    """Item events with cards."""
    return [
        event("item", f"card {item.item_id} {at_ms}", at_ms, None, items=(item,)) for item in items
    ]


def looks(*items: Item, at_ms: int = 1000, by: str = "ann") -> list[Event]:
    return [
        event("item_view", f"{by} {at_ms} {n}", at_ms + n, by, items=(item,))
        for n, item in enumerate(items)
    ]


def like(name: str, *items: str) -> tuple[str, list[str], set[str]]:
    return "content", list(items), {f"because:{name}"}


@pytest.mark.parametrize("at_once", [True, False], ids=["one batch", "a batch each"])
def test_without_views_similar_cards_make_the_list(at_once: bool) -> None:
    shop = Shop()
    updates = cards(*CARDS)
    shop.process(*([updates] if at_once else [[one] for one in updates]))
    assert shop.lists() == {
        "red": like("red", "blue", "gold"),
        "blue": like("blue", "red", "gold"),
        "gold": like("gold", "blue", "red"),
    }
    shares = [one[1] for one in shop.held[keys.similar_key("red")]["items"]]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(1, abs=1e-3)


def test_views_replace_the_lists_of_the_viewed_items_only() -> None:
    shop = Shop()
    shop.process(cards(*CARDS), looks(RED, PAN))
    assert shop.lists() == {
        "red": ("covisitation", ["pan"], {"because:red"}),
        "pan": ("covisitation", ["red"], {"because:pan"}),
        "blue": like("blue", "red", "gold"),
        "gold": like("gold", "blue", "red"),
    }


def test_a_new_item_comes_into_lists_that_are_not_full_and_gets_its_own() -> None:
    shop = Shop()
    shop.process(cards(*CARDS), cards(Item("new", category=("pans",), price=31.0), at_ms=1))
    lists = shop.lists()
    assert lists["new"] == like("new", "pan")
    assert lists["pan"] == like("pan", "new")


def test_an_item_of_a_changed_category_moves_to_its_lists() -> None:
    shop = Shop()
    shop.process(cards(*CARDS), cards(Item("gold", category=("pans",), price=90.0), at_ms=1))
    assert shop.lists() == {
        "red": like("red", "blue"),
        "blue": like("blue", "red"),
        "gold": like("gold", "pan"),
        "pan": like("pan", "gold"),
    }


def test_a_sold_out_item_is_in_no_list_until_it_is_available() -> None:
    shop = Shop()
    sold = Item("blue", category=("mugs",), price=10.0, available=False)
    back = Item("blue", category=("mugs",), price=10.0, available=True)
    shop.process(cards(*CARDS), cards(sold, at_ms=1))
    assert shop.lists()["red"] == like("red", "gold")
    shop.process(cards(back, at_ms=2))
    assert shop.lists()["red"] == like("red", "blue", "gold")


def test_a_large_catalogue_is_published_in_turn_and_completely() -> None:
    """Each batch rewrites so many lists, however many cards came; all are published at the end."""
    shop = Shop()
    many = [Item(f"i{n}", category=(f"c{n % 30}",), price=1.0 + n) for n in range(10_000)]
    shop.process(cards(*many), looks(RED, PAN), looks(RED, PAN, at_ms=2000), [])
    assert max(shop.written[:-1]) == ITEM_LISTS_MIN
    assert len([key for key in shop.held if "{i" in key]) == 10_000
    for n in (0, 4321, 9999):
        listed = [int(one[0][1:]) for one in shop.held[keys.similar_key(f"i{n}")]["items"]]
        assert len(listed) == 20
        assert {other % 30 for other in listed} == {n % 30}
        assert n not in listed
