"""Lists over HTTP: every slot equals a naive reader of Redis, nothing comes twice, nothing sold out."""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from state import keys
from state.store import Store
from tests.serving.storefront.servers import Door, filled_redis, open_door

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.process.embedded_redis import EmbeddedRedis


@pytest.fixture(scope="module")
def redis_of_shop(redis_server: EmbeddedRedis, tmp_path_factory: pytest.TempPathFactory) -> Any:
    filled_redis(redis_server, tmp_path_factory.mktemp("letters"))
    client = Store(redis_server.url, timeout_ms=2000, patience_s=0).client
    rng = random.Random(5)
    for item in rng.sample(items_of(client), 12):
        client.hset(keys.card_key(item), "available", 0)
    return client


@pytest.fixture(scope="module")
def door(redis_of_shop: Any, redis_server: EmbeddedRedis) -> Iterator[Door]:
    with open_door(redis_server.url, rate_max=100_000) as door:
        yield door


def items_of(client: Any) -> list[str]:
    prefix = len("ps:1:item:{")
    return sorted(key.decode()[prefix:-6] for key in client.scan_iter("ps:1:item:*:card"))


def shoppers_of(client: Any) -> list[str]:
    prefix = len("ps:1:shopper:{")
    found = client.scan_iter("ps:1:shopper:*:profile")
    return sorted(key.decode()[prefix : -len("}:profile")] for key in found)


def shopper_with_list(client: Any) -> str:
    names = shoppers_of(client)
    return next(name for name in names if client.exists(keys.top_key(name, "home")))


class NaiveReader:
    """The documented order of lists, one read after the other, without any cache."""

    def __init__(self, client: Any) -> None:
        self._client = client

    def entries(self, key: str) -> list[Any]:
        text = self._client.get(key)
        return json.loads(text)["items"] if text else []

    def card(self, item: str) -> dict[str, str]:
        found = self._client.hgetall(keys.card_key(item))
        return {name.decode(): value.decode() for name, value in found.items()}

    def home(self, visitor: str) -> Iterator[str]:
        alias = self._client.get(keys.alias_key(visitor)) if visitor else None
        shopper = alias.decode() if alias else visitor
        profile: dict[bytes, bytes] = {}
        segments: list[str] = []
        if shopper:
            profile = self._client.hgetall(keys.profile_key(shopper))
            yield from (item for item, *_ in self.entries(keys.top_key(shopper, "home")))
            segments = [one.decode() for one in self._client.hkeys(keys.segments_key(shopper))]
        for segment in segments:
            yield from (item for item, *_ in self.entries(keys.popular_key("segment", segment)))
        if category := profile.get(b"top_category", b"").decode():
            yield from (item for item, *_ in self.entries(keys.popular_key("category", category)))
        yield from (item for item, *_ in self.entries(keys.popular_key()))

    def own(self, visitor: str) -> list[str]:
        alias = self._client.get(keys.alias_key(visitor)) if visitor else None
        shopper = alias.decode() if alias else visitor
        return [item for item, *_ in self.entries(keys.top_key(shopper, "home"))] if shopper else []

    def product(self, visitor: str, item: str) -> Iterator[str]:
        similar = [one for one, *_ in self.entries(keys.similar_key(item))]
        own = self.own(visitor)
        both = iter([one for one in own if one in similar])
        yield from (next(both) if one in own else one for one in similar)
        yield from self.home(visitor)

    def cart(self, visitor: str, cart: list[str]) -> Iterator[str]:
        for key_of in (keys.bought_key, keys.similar_key):
            sums: dict[str, float] = {}
            for item in cart:
                for rank, (other, *_) in enumerate(self.entries(key_of(item)), 1):
                    sums[other] = sums.get(other, 0) + 1 / rank
            yield from sorted(sums, key=lambda one: (-sums[one], one))
        yield from self.home(visitor)

    def category(self, visitor: str, category: str) -> Iterator[str]:
        yield from self.own(visitor)
        yield from (one for one, *_ in self.entries(keys.popular_key("category", category)))
        yield from self.home(visitor)

    def chosen(
        self, candidates: Iterator[str], asked: dict[str, Any], taken: set[str]
    ) -> list[str]:
        left_out = {asked.get("item"), *asked.get("cart", ()), *asked.get("exclude", ()), *taken}
        chosen: list[str] = []
        for item in candidates:
            card = self.card(item)
            if item in left_out or item in chosen or card.get("available") == "0":
                continue
            if (category := asked.get("category")) and not (
                card.get("category", "") + "/"
            ).startswith(category + "/"):
                continue
            if (most := asked.get("price_max")) and float(card.get("price", "inf")) > most:
                continue
            chosen.append(item)
        return chosen[: asked["n"]]

    def list_of(self, visitor: str, asked: dict[str, Any], taken: set[str]) -> list[str]:
        slot = asked["slot"]
        if slot == "product" and asked.get("item"):
            candidates = self.product(visitor, asked["item"])
        elif slot == "cart" and asked.get("cart"):
            candidates = self.cart(visitor, asked["cart"])
        elif slot == "category" and asked.get("category"):
            candidates = self.category(visitor, asked["category"])
        else:
            candidates = self.home(visitor)
        return self.chosen(candidates, asked, taken)


def random_slot(rng: random.Random, client: Any, items: list[str]) -> dict[str, Any]:
    slot = rng.choice(["home", "product", "cart", "category", "search", "empty"])
    asked: dict[str, Any] = {"slot": slot, "n": rng.choice([1, 4, 12, 40])}
    if slot == "product":
        asked["item"] = rng.choice(items)
    if slot == "cart":
        asked["cart"] = rng.sample(items, rng.randrange(4))
    if slot == "category" or rng.random() < 0.2:
        card = client.hget(keys.card_key(rng.choice(items)), "category").decode()
        asked["category"] = rng.choice([card, card.partition("/")[0]])
    if rng.random() < 0.2:
        asked["price_max"] = rng.choice([5, 20, 60])
    if rng.random() < 0.3:
        asked["exclude"] = rng.sample(items, 3)
    return asked


def test_every_list_of_random_pages_equals_a_naive_readers(door: Door, redis_of_shop: Any) -> None:
    rng = random.Random(11)
    naive = NaiveReader(redis_of_shop)
    items, shoppers = items_of(redis_of_shop), shoppers_of(redis_of_shop)
    aliases = [
        key.decode()[len("ps:1:alias:{") : -1] for key in redis_of_shop.scan_iter("ps:1:alias:*")
    ]
    seen_slots: set[str] = set()
    for _ in range(120):
        visitor = rng.choice([*rng.sample(shoppers, 3), rng.choice(aliases), "stranger", ""])
        slots = [random_slot(rng, redis_of_shop, items) for _ in range(rng.randrange(1, 9))]
        asked: dict[str, Any] = {"slots": slots} | ({"visitor": visitor} if visitor else {})
        answer = door.post("/v1/lists", asked)
        assert answer.status == 200, answer.body
        lists = answer.json()["lists"]
        taken: set[str] = set()
        for slot, got in zip(slots, lists, strict=True):
            expected = naive.list_of(visitor, slot, taken)
            assert [one["id"] for one in got["items"]] == expected, (visitor, slot)
            assert not taken & set(expected)
            assert not got["degraded"]
            taken |= set(expected)
            seen_slots.add(slot["slot"])
    assert seen_slots == {"home", "product", "cart", "category", "search", "empty"}


def test_on_random_pages_nothing_is_twice_sold_out_or_excluded(
    redis_of_shop: Any, redis_server: EmbeddedRedis
) -> None:
    """Whatever is asked while stock changes: held against what was asked and the stock alone."""
    rng = random.Random(23)
    items, shoppers = items_of(redis_of_shop), shoppers_of(redis_of_shop)
    sold_out = {one for one in items if redis_of_shop.hget(keys.card_key(one), "available") == b"0"}
    before = set(sold_out)
    listed = 0
    with open_door(redis_server.url, shared_max_age_ms=1, rate_max=100_000) as door:
        for _ in range(60):
            for item in rng.sample(items, 4):
                sold_out ^= {item}
                redis_of_shop.hset(keys.card_key(item), "available", int(item not in sold_out))
            time.sleep(0.002)  # the greatest age of a card has passed
            slots = [random_slot(rng, redis_of_shop, items) for _ in range(rng.randrange(1, 9))]
            asked = {"visitor": rng.choice(shoppers), "slots": slots}
            lists = door.post("/v1/lists", asked).json()["lists"]
            shown = [item["id"] for one in lists for item in one["items"]]
            assert len(shown) == len(set(shown))
            assert not sold_out & set(shown)
            for slot, one in zip(slots, lists, strict=True):
                left_out = {slot.get("item"), *slot.get("cart", ()), *slot.get("exclude", ())}
                assert not left_out & {item["id"] for item in one["items"]}
                assert len(one["items"]) <= slot["n"]
            listed += len(shown)
    for item in sold_out ^ before:
        redis_of_shop.hset(keys.card_key(item), "available", int(item not in before))
    assert listed > 500


def test_one_list_is_the_same_by_get_and_by_post(door: Door, redis_of_shop: Any) -> None:
    shopper = shopper_with_list(redis_of_shop)
    items = items_of(redis_of_shop)[:2]
    query = urlencode({"shopper": shopper, "cart": ",".join(items), "n": 5, "exclude": items[0]})
    by_get = door.get(f"/v1/lists/cart?{query}").json()
    slot = {"slot": "cart", "cart": items, "n": 5, "exclude": items[:1]}
    (by_post,) = door.post("/v1/lists", {"shopper": shopper, "slots": [slot]}).json()["lists"]
    assert by_get | {"age_ms": 0} == by_post | {"age_ms": 0}


def test_a_list_says_what_it_is_and_shows_cards_and_reasons(door: Door, redis_of_shop: Any) -> None:
    shopper = shopper_with_list(redis_of_shop)
    stored = json.loads(redis_of_shop.get(keys.top_key(shopper, "home")))
    answer = door.get(f"/v1/lists/home?shopper={shopper}&n=3").json()
    assert (answer["place"], answer["source"], answer["at"]) == ("own", "blend", stored["at"])
    first = answer["items"][0]
    card = NaiveReader(redis_of_shop).card(first["id"])
    assert first["card"] == {
        "name": card["name"],
        "category": card["category"],
        "brand": card["brand"],
        "price": float(card["price"]),
        "currency": card["currency"],
    }
    assert first["why"].startswith(
        ("because you looked at ", "because you bought ", "popular", "goes")
    )
    assert shopper not in json.dumps(answer["list"])


def test_a_list_goes_on_where_its_first_part_ended(door: Door, redis_of_shop: Any) -> None:
    shopper = shopper_with_list(redis_of_shop)
    whole = door.get(f"/v1/lists/home?shopper={shopper}&n=20").json()
    first = door.get(f"/v1/lists/home?shopper={shopper}&n=8").json()
    rest = door.get(f"/v1/lists/home?shopper={shopper}&n=12&offset=8&list={first['list']}").json()
    assert rest["list"] == first["list"]
    assert first["items"] + rest["items"] == whole["items"]


def test_items_may_repeat_on_a_page_that_asks_for_it(door: Door) -> None:
    slots = [{"slot": "home", "n": 5}, {"slot": "empty", "n": 5}]
    first, second = door.post("/v1/lists", {"slots": slots, "repeat": True}).json()["lists"]
    assert first["items"] == second["items"]


def test_a_sold_out_item_is_gone_once_its_card_is_read_again(
    redis_of_shop: Any, redis_server: EmbeddedRedis
) -> None:
    with open_door(redis_server.url, shared_max_age_ms=1) as door:
        item = door.get("/v1/lists/home").json()["items"][0]["id"]
        redis_of_shop.hset(keys.card_key(item), "available", 0)
        try:
            after = door.get("/v1/lists/home").json()
        finally:
            redis_of_shop.hset(keys.card_key(item), "available", 1)
        assert item not in [one["id"] for one in after["items"]]


def test_who_refuses_personalization_gets_what_everybody_gets(
    door: Door, redis_of_shop: Any
) -> None:
    shopper = shopper_with_list(redis_of_shop)
    redis_of_shop.hset(keys.profile_key(shopper), "refused", "personalization,ads")
    try:
        answer = door.get(f"/v1/lists/home?shopper={shopper}").json()
    finally:
        redis_of_shop.hdel(keys.profile_key(shopper), "refused")
    assert answer["items"] == door.get("/v1/lists/home?audience=all").json()["items"]


def test_lists_for_everybody_may_be_kept_by_a_cdn_and_own_lists_not(door: Door) -> None:
    shared, own = door.get("/v1/lists/home?audience=all"), door.get("/v1/lists/home?visitor=x")
    assert shared.headers["cache-control"].startswith("public, max-age=60, stale-while-revalidate")
    assert "Cookie" not in shared.headers.get("vary", "")
    assert own.headers["cache-control"] == "private, max-age=5"
    assert "Cookie" in own.headers["vary"]
    for answer, path in ((shared, "?audience=all"), (own, "?visitor=x")):
        again = door.get(f"/v1/lists/home{path}", **{"If-None-Match": answer.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
