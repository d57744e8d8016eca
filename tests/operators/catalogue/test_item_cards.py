"""Item cards: newer data replaces older data, older data fills gaps, and changes are given once."""

from __future__ import annotations

from operators.catalogue.item_cards import CARD_TTL_S, CatalogueEvent, ItemCards
from state.entries import ItemUpdate
from state.events import Item
from state.interactions import ItemCard


def test_newer_data_replaces_older_data_and_missing_fields_keep_their_values() -> None:
    cards = ItemCards()
    cards.update([ItemUpdate(1, Item("mug", name="Mug", brand="Bee", price=10.0), "EUR")])
    cards.update([ItemUpdate(2, Item("mug", price=12.0, available=True), "")])
    assert cards.by_id == {
        "mug": ItemCard(2, "Mug", (), "Bee", 12.0, "EUR", available=True),
    }


def test_older_data_only_fills_gaps() -> None:
    cards = ItemCards()
    cards.update([ItemUpdate(5, Item("mug", name="Mug", price=10.0), "")])
    cards.update(
        [ItemUpdate(1, Item("mug", name="Old mug", category=("kitchen",), price=3.0), "EUR")]
    )
    assert cards.by_id == {"mug": ItemCard(5, "Mug", ("kitchen",), None, 10.0, "EUR", None)}


def test_changed_items_are_given_once_and_repeated_data_is_no_change() -> None:
    cards = ItemCards()
    cards.update([ItemUpdate(1, Item("mug", price=10.0), "EUR"), ItemUpdate(1, Item("cup"), "")])
    assert (cards.take_changed(), cards.take_changed()) == (["cup", "mug"], [])
    cards.update([ItemUpdate(2, Item("mug", price=10.0), "EUR")])
    assert cards.take_changed() == []
    assert cards.dirty == {"cup", "mug"}


def test_a_catalogue_event_needs_newer_data() -> None:
    cards = ItemCards(price_drop_min=0.1)
    cards.update([ItemUpdate(5, Item("mug", price=10.0, available=False), "EUR")])
    cards.update([ItemUpdate(4, Item("mug", price=1.0, available=True), "EUR")])
    assert cards.take_catalogue_events() == []
    cards.update([ItemUpdate(6, Item("mug", price=9.0, available=True), "EUR")])
    assert cards.take_catalogue_events() == [
        CatalogueEvent("back-in-stock", "mug", 6),
        CatalogueEvent("price-drop", "mug", 6),
    ]
    assert cards.take_catalogue_events() == []


def test_changed_cards_are_published_once_as_hashes_that_expire() -> None:
    cards = ItemCards()
    item = Item("mug", name="Mug", category=("kitchen", "mug"), price=9.5, available=False)
    cards.update([ItemUpdate(1, item, "EUR"), ItemUpdate(1, Item("cup"), "")])
    mug = ("name", "Mug", "category", "kitchen/mug", "price", "9.50", "currency", "EUR")
    assert cards.take_writes() == [
        ("HSET", "ps:1:item:{cup}:card", "available", 1),
        ("EXPIRE", "ps:1:item:{cup}:card", CARD_TTL_S),
        ("HSET", "ps:1:item:{mug}:card", "available", 0, *mug),
        ("EXPIRE", "ps:1:item:{mug}:card", CARD_TTL_S),
    ]
    assert cards.take_writes() == []


def test_a_removed_card_is_not_published_and_is_stored_as_removed() -> None:
    cards = ItemCards()
    cards.update([ItemUpdate(1, Item("mug"), "")])
    cards.dirty.clear()
    cards.remove(["mug", "never seen"])
    assert (cards.by_id, cards.take_writes(), cards.dirty) == ({}, [], {"mug"})


def test_another_currency_is_a_change() -> None:
    cards = ItemCards()
    for currency in ("EUR", "CHF"):
        cards.update([ItemUpdate(1, Item("mug", price=5.0), currency)])
        assert cards.take_changed() == ["mug"]
        assert cards.by_id["mug"].currency == currency


def test_addresses_of_page_and_picture_are_kept_if_a_page_may_use_them() -> None:
    cards = ItemCards()
    cards.update([ItemUpdate(1, Item("mug", url="/mug", image_url="https://x.example/m.jpg"), "")])
    cards.update([ItemUpdate(2, Item("mug", url="javascript:alert(1)", image_url="/new.jpg"), "")])
    cards.update([ItemUpdate(0, Item("mug", url="/older"), "")])
    (write, _) = cards.take_writes()
    assert isinstance(write, tuple)
    assert write[4:] == ("url", "/mug", "image_url", "/new.jpg")
    cards.update([ItemUpdate(3, Item("mug", url="data:text/html,x"), "")])
    assert cards.take_writes() == []
