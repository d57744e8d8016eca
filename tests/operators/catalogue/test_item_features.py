"""Data of items as columns: read from the cards once, and again when a card changes."""

from __future__ import annotations

import numpy as np

from operators.catalogue.item_features import ItemFeatures
from state.arrays import NO_ROW
from state.interactions import ItemCard, RowIndex

CARDS = {
    "mug": ItemCard(1, category=("kitchen", "mug"), brand="Bee", price=9.5),
    "cup": ItemCard(1, category=("kitchen", "mug"), available=False),
    "pen": ItemCard(1, brand="Bee"),
}


def features_of(items: RowIndex) -> ItemFeatures:
    features = ItemFeatures(items)
    features.update(np.arange(len(items), dtype=np.int32), (), CARDS)
    return features


def test_columns_hold_the_data_of_the_cards() -> None:
    features = features_of(RowIndex(["mug", "cup", "pen", "without card"]))
    assert features.category.tolist()[:4] == [0, 0, NO_ROW, NO_ROW]
    assert features.brand.tolist()[:4] == [0, NO_ROW, 0, NO_ROW]
    assert str(features.price.tolist()[:4]) == "[9.5, nan, nan, nan]"
    assert features.sold_out.tolist()[:4] == [False, True, False, False]
    assert (features.categories.ids, features.brands.ids) == (["kitchen/mug"], ["Bee"])


def test_a_card_is_read_again_only_when_it_changed() -> None:
    items = RowIndex(["mug"])
    features = features_of(items)
    cheaper = {"mug": ItemCard(2, price=5.0)}
    features.update(np.array([0], np.int32), (), cheaper)
    assert features.price[0] == np.float32(9.5)
    features.update(np.array([], np.int32), ["mug", "never seen"], cheaper)
    assert features.price[0] == np.float32(5.0)


def test_stock_changes_are_given_once() -> None:
    features = features_of(RowIndex(["mug", "cup"]))
    sold_out, back = features.take_stock_changes()
    assert (sold_out.tolist(), back.tolist(), features.sold_out_items) == ([1], [], 1)
    changed = {"mug": ItemCard(2, available=False), "cup": ItemCard(2, available=True)}
    features.update(np.array([], np.int32), ["mug", "cup"], changed)
    sold_out, back = features.take_stock_changes()
    assert (sold_out.tolist(), back.tolist(), features.sold_out_items) == ([0], [1], 1)
    assert [rows.tolist() for rows in features.take_stock_changes()] == [[], []]


def test_a_removed_item_is_unknown() -> None:
    features = features_of(RowIndex(["mug", "cup"]))
    features.remove_items(np.array([0, 1], np.int32))
    assert features.category.tolist()[:2] == [NO_ROW, NO_ROW]
    assert not features.sold_out.any()
    assert features.sold_out_items == 0


def test_columns_have_an_element_for_every_row_of_the_index() -> None:
    items = RowIndex()
    features = ItemFeatures(items)
    items.get_or_add_many([f"item {n}" for n in range(100)])
    assert len(features.brand) >= 100
    assert not features.sold_out.any()
