"""Trending items: viewed more than before, which is not the same as viewed most."""

from __future__ import annotations

import numpy as np

from operators.recommend.candidates.popularity import Popularity
from operators.recommend.candidates.trending import Trending
from operators.recommend.price_levels import price_bands
from operators.recommend.standalone import StandaloneRecommender
from state.arrays import NO_ROW
from state.interactions import VIEW, EventColumns, Interactions, ItemCard
from state.times import DAY_MS, HOUR_MS

NOW_MS = 1_700_000_000_000
NONE = np.empty(0, np.int32)


def viewed(item: int, times: int, at_ms: int) -> Interactions:
    return Interactions(
        np.zeros(times, np.int32),
        np.full(times, item, np.int32),
        np.zeros(times, np.int8),
        np.ones(times, np.float32),
        np.full(times, at_ms),
        np.full((times, 1), NO_ROW, np.int32),
    )


class Shop:
    """Item 0 sells all the time; item 1 rises in the last hour; item 2 had three views."""

    def __init__(self) -> None:
        self.usual, self.trending = Popularity(), Trending(long_half_life_ms=DAY_MS)
        for hour in range(72):
            self.learn(viewed(0, 50, NOW_MS + hour * HOUR_MS))
        self.now_ms = NOW_MS + 72 * HOUR_MS
        self.learn(viewed(1, 40, self.now_ms))
        self.learn(viewed(2, 3, self.now_ms))

    def learn(self, batch: Interactions) -> None:
        self.usual.learn_many(batch)
        self.trending.learn_many(batch)

    def top(self, now_ms: int, without: list[int] | None = None) -> list[int]:
        hidden = np.array(without or [], np.int32)
        item = self.trending.top(self.usual, now_ms, 5, hidden).item[0]
        listed: list[int] = item[item >= 0].tolist()
        return listed


def test_a_rising_item_comes_before_a_best_seller() -> None:
    shop = Shop()
    assert shop.usual.top(1).item[0].tolist() == [0]
    assert shop.top(shop.now_ms)[0] == 1


def test_steady_and_falling_items_are_no_trend() -> None:
    shop = Shop()
    assert 0 not in shop.top(shop.now_ms)
    assert shop.top(shop.now_ms + 2 * DAY_MS) == []


def test_a_few_views_are_weaker_than_many() -> None:
    shop = Shop()
    listed = shop.top(shop.now_ms)
    assert 2 not in listed or listed.index(1) < listed.index(2)


def test_sold_out_items_are_left_out() -> None:
    shop = Shop()
    assert 1 not in shop.top(shop.now_ms, without=[1])


def test_a_long_pause_is_no_error_and_a_restored_table_goes_on() -> None:
    shop = Shop()
    assert shop.top(shop.now_ms + 400 * DAY_MS) == []
    restored = Trending(long_half_life_ms=DAY_MS)
    restored.restore(shop.trending.arrays())
    shop.trending = restored
    assert shop.top(shop.now_ms)[0] == 1


def test_every_price_has_a_band_and_no_price_has_none() -> None:
    prices = np.array([0.0, 0.99, 1.0, 4.99, 5.0, 1e12, np.nan], np.float32)
    assert price_bands(prices) == ["0", "0", "1", "2", "5", "50000000", None]


def test_popular_items_have_lists_by_country_and_price_band() -> None:
    recommender = StandaloneRecommender()
    cards = {"mug": ItemCard(NOW_MS, None, (), None, 12.0)}
    times, none = [NOW_MS] * 2, [None] * 2
    recommender.learn(
        EventColumns(
            ["ann", "bob"],
            ["mug", "cup"],
            [VIEW] * 2,
            [1.0] * 2,
            times,
            times,
            none,
            none,
            cards,
            ["mug"],
            ["DE", None],
        )
    )
    scopes, lists = recommender.components.popular_lists.take_changed_scopes()
    assert scopes == [("country", "DE"), ("price", "10")]
    assert [[item for item, _, _ in of] for of in lists.entries()] == [["mug"], ["mug"]]
