"""Lifts: what members view more often than all shoppers, compared with a naive count of a small shop."""

from __future__ import annotations

import random
from collections import Counter
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from operators.recommend.standalone import StandaloneRecommender
from operators.segments.lifts import SegmentLifts
from operators.segments.membership_index import MembershipIndex
from state import keys
from state.interactions import VIEW, EventColumns, ItemCard

if TYPE_CHECKING:
    from state.messages import Write

CLUSTERS = ["cluster-0", "cluster-1", "cluster-2"]
CATEGORY = {f"i{n}": ("home", "mugs") if n < 6 else ("shoes",) for n in range(12)}
MEMBERS = 300


def small_shop() -> tuple[MembershipIndex, StandaloneRecommender, list[tuple[str, str]]]:
    """Members of cluster-0 view mugs, those of cluster-1 shoes; there are no other shoppers."""
    dice = random.Random(5)
    looks = []
    for n in range(2 * MEMBERS):
        weights = [15] * 6 + [1] * 6 if n < MEMBERS else [1] * 6 + [5] * 6
        looks += [(f"s{n}", f"i{item}") for item in dice.choices(range(12), weights, k=4)]
    recommender, index = StandaloneRecommender(), MembershipIndex(CLUSTERS)
    shoppers, items = zip(*looks, strict=True)
    n = len(looks)
    recommender.learn(
        EventColumns(
            shoppers,
            items,
            [VIEW] * n,
            [1.0] * n,
            range(n),
            [0] * n,
            [None] * n,
            [None] * n,
            {item: ItemCard(1, category=category) for item, category in CATEGORY.items()},
            [*CATEGORY],
        )
    )
    names = recommender.shoppers.ids
    rows = np.arange(len(names), dtype=np.int32)
    place = np.array([int(int(name[1:]) >= MEMBERS) for name in names], np.int16)
    at_ms = np.ones(len(names), np.int64)
    index.mark_active(rows, [False] * len(names), at_ms)
    index.assign("cluster", names, rows, place, at_ms)
    return index, recommender, looks


def told(writes: list[Write]) -> dict[str, Any]:
    return {str(key): orjson.loads(str(text)) for _, key, text in writes}


def naive(pairs: set[tuple[str, str]], members: set[str]) -> list[list[Any]]:
    """Name, lift and share of what enough members view significantly more often."""
    everybody, found = {who for who, _ in pairs}, []
    of_things = Counter(what for _, what in pairs)
    questions = sum(of_all >= 10 for of_all in of_things.values())
    sigmas = NormalDist().inv_cdf(1 - 0.01 / max(questions, 1))
    for what in of_things:
        count = sum(1 for who, one in pairs if one == what and who in members)
        of_all = sum(1 for _, one in pairs if one == what)
        share, usual = count / len(members), of_all / len(everybody)
        pooled = (count + of_all) / (len(members) + len(everybody))
        variance = pooled * (1 - pooled) * (1 / len(members) + 1 / len(everybody))
        if count >= 10 and share > usual + sigmas * variance**0.5:
            found.append([what, round(share / usual, 2), round(share, 4)])
    return sorted(found, key=lambda one: (-one[1], one[0]))


def test_lifts_are_those_of_a_naive_count() -> None:
    index, recommender, looks = small_shop()
    found = told(SegmentLifts().writes(index, recommender, 7, last=True))
    items = set(looks)
    categories = {(who, "/".join(CATEGORY[item])) for who, item in looks}
    for place, sid in enumerate(CLUSTERS[:2]):
        members = {f"s{n + place * MEMBERS}" for n in range(MEMBERS)}
        assert found[keys.lifts_key(sid)] == {
            "at": 7,
            "categories": naive(categories, members),
            "items": naive(items, members),
        }
    liked = {item for item, _, _ in found[keys.lifts_key("cluster-0")]["items"]}
    assert liked
    assert liked <= {item for item, category in CATEGORY.items() if len(category) == 2}
    assert found[keys.lifts_key("cluster-1")]["categories"][0][0] == "shoes"
    assert found[keys.lifts_key("cluster-2")] == {"at": 7, "categories": [], "items": []}


def test_one_segment_a_call_reaches_all_of_them() -> None:
    index, recommender, _ = small_shop()
    lifts = SegmentLifts()
    found: dict[str, Any] = {}
    for _ in CLUSTERS:
        one = told(lifts.writes(index, recommender, 7, last=False))
        assert len(one) == 1
        found |= one
    assert found == told(SegmentLifts().writes(index, recommender, 7, last=True))


def test_nothing_is_reported_of_what_few_view() -> None:
    """Nine members are too few, however different they are."""
    index, recommender, _ = small_shop()
    names = [f"s{n}" for n in range(9)]
    rows = np.array([recommender.shoppers.get(name) for name in names], np.int32)
    index.assign("cluster", names, rows, np.full(9, 2, np.int16), np.ones(9, np.int64))
    found = told(SegmentLifts().writes(index, recommender, 7, last=True))
    assert found[keys.lifts_key("cluster-2")] == {"at": 7, "categories": [], "items": []}


def test_nothing_is_reported_of_members_like_the_average() -> None:
    """Of hundreds of items some are always viewed more often by chance."""
    dice = random.Random(3)
    shoppers = [f"s{n}" for n in range(4000)]
    looks = [(who, f"i{int(dice.expovariate(0.006))}") for who in shoppers for _ in range(4)]
    recommender, index, n = StandaloneRecommender(), MembershipIndex(CLUSTERS), len(looks)
    who, items = zip(*looks, strict=True)
    recommender.learn(
        EventColumns(who, items, [VIEW] * n, [1.0] * n, range(n), [0] * n, [None] * n, [None] * n)
    )
    rows = np.arange(len(shoppers), dtype=np.int32)
    place = np.array([dice.randrange(3) for _ in shoppers], np.int16)
    index.assign("cluster", shoppers, rows, place, np.ones(len(shoppers), np.int64))
    found = told(SegmentLifts().writes(index, recommender, 7, last=True))
    assert [one["items"] for one in found.values()] == [[], [], []]


def test_an_empty_shop_has_no_lifts() -> None:
    assert SegmentLifts().writes(MembershipIndex(), StandaloneRecommender(), 7, last=True) == []
