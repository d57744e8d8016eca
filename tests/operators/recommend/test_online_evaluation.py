"""Online evaluation: what is counted of published lists and the next clicks, and what is no case."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import numpy as np
import orjson
import pytest

from operators.recommend.online_evaluation import LIST_TTL_S
from operators.recommend.standalone import StandaloneRecommender
from operators.synthetic.traffic import generate_events as synthetic
from state import config_lists, keys
from state.config_lists import Served
from state.interactions import CART, VIEW, EventColumns
from tests import removals
from tests.streams import flow_settings, run_flow

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

NOW_MS = 1_700_000_000_000
HALF_LIFE_HOURS = 24.0
ALL = Served(share=1.0, half_life_hours=HALF_LIFE_HOURS)
Row = tuple[str, str, int]


def shop(served: Served = ALL) -> StandaloneRecommender:
    return StandaloneRecommender.from_config(config_lists.Lists(k=3, served=served))


def clicks(rows: Sequence[Row], kind: int = VIEW) -> EventColumns:
    """(shopper, item, ms after the start), each shopper in one session."""
    n = len(rows)
    shoppers, items, after_ms = zip(*rows, strict=True)
    at_ms = [NOW_MS + ms for ms in after_ms]
    return EventColumns(
        shoppers, items, [kind] * n, [1.0] * n, at_ms, [NOW_MS] * n, [None] * n, [None] * n
    )


def step(recommender: StandaloneRecommender, *rows: Row, kind: int = VIEW) -> list[list[str]]:
    """A batch as the flow takes it; the lists written to its shoppers, by the order of their names."""
    seen = recommender.learn(clicks(rows, kind))
    assert seen is not None
    recommender.components.online_evaluation.evaluate_clicks(seen, lambda row: [f"odd-{row % 2}"])
    who = sorted({shopper for shopper, _, _ in rows})
    ranked = recommender.recommend(who, NOW_MS + max(ms for *_, ms in rows))
    return [[item for item, _, _ in entries] for entries in ranked.entries()]


def judged(recommender: StandaloneRecommender) -> tuple[int, int]:
    grew = recommender.components.online_evaluation.take_deltas()
    return grew.lists, grew.hits


def test_metrics_are_those_of_a_plain_count() -> None:
    draw = random.Random(5)
    recommender, published = shop(), dict[str, list[str]]()
    ranks: list[int] = []
    listed: set[str] = set()
    at_ms = 0
    for _ in range(60):
        rows = []
        for _ in range(draw.randint(1, 8)):
            at_ms += draw.randint(0, 30_000)
            rows.append((f"s{draw.randint(0, 9)}", f"i{draw.randint(0, 12)}", at_ms))
        first = {who: item for who, item, _ in reversed(rows)}
        for who, item in first.items():
            if who in published:
                ranks.append(published[who].index(item) + 1 if item in published[who] else 0)
        lists = step(recommender, *rows)
        published |= zip(sorted(first), lists, strict=True)
        listed |= {item for one in lists for item in one}
    hits = [rank for rank in ranks if rank]
    grew = recommender.components.online_evaluation.take_deltas()
    assert (grew.lists, grew.hits) == (len(ranks), len(hits))
    assert 20 < len(hits) < len(ranks)
    assert grew.reciprocal_rank_sum == pytest.approx(sum(1 / rank for rank in hits))
    assert sum(grew.by_learner.values()) == len(hits)
    by_segment = grew.by_segment.values()
    assert tuple(map(sum, zip(*by_segment, strict=True))) == (len(ranks), len(hits))
    # In a quarter of an hour nearly nothing fades.
    figures = recommender.components.online_evaluation.metrics(recommender.items)
    assert float(figures["hit_rate"]) == pytest.approx(len(hits) / len(ranks), abs=0.01)
    assert figures["coverage"] == f"{len(listed) / len(recommender.items):.4f}"
    told = [
        recommender.components.online_evaluation.learner_metrics(name)
        for name in recommender.components.blend.names
    ]
    assert sum(float(one["served_share"]) for one in told) == pytest.approx(1, abs=0.001)
    rate = sum(float(one["served_hit_rate"]) for one in told)
    assert rate == pytest.approx(float(figures["hit_rate"]), abs=0.001)


def test_the_learner_of_an_item_is_that_of_its_reason() -> None:
    recommender = shop()
    step(recommender, *((f"s{n}", f"i{(n + m) % 7}", n) for n in range(30) for m in range(3)))
    who = ["a stranger", *(f"s{n}" for n in range(30))]
    requests = recommender.requests_for(who, NOW_MS)
    lists = recommender.components.generators.candidate_lists(requests)
    final = recommender.components.blend.blend(requests, lists, 3)
    by = recommender.components.blend.contributions(
        requests.context, lists, np.arange(len(who)), final.item
    )
    assert (by >= 0).all()
    named = final.reason_item < -1
    assert named.any()
    assert (by[named] == -2 - final.reason_item[named]).all()
    for place, one in enumerate(lists):
        of_it = (by == place) & ~named
        reasons = {
            (row, int(item), int(because))
            for row in range(len(who))
            for item, because in zip(one.item[row], one.reason_item[row], strict=True)
        }
        for row, column in np.argwhere(of_it).tolist():
            assert (row, final.item[row, column], final.reason_item[row, column]) in reasons


def test_a_second_click_in_a_batch_has_no_list_of_its_own() -> None:
    recommender = shop()
    step(recommender, ("ann", "mug", 0), ("ann", "cup", 1))
    assert judged(recommender) == (0, 0)
    step(recommender, ("ann", "mug", 2), ("ann", "cup", 3))
    assert judged(recommender) == (1, 1)


def test_a_late_click_and_one_after_the_list_expired_are_no_cases() -> None:
    recommender = shop()
    step(recommender, ("ann", "mug", 10))
    step(recommender, ("ann", "mug", 9))
    step(recommender, ("ann", "mug", 10 + LIST_TTL_S * 1000))
    assert judged(recommender) == (0, 0)
    step(recommender, ("ann", "mug", 9 + 2 * LIST_TTL_S * 1000))
    assert judged(recommender) == (1, 1)


def test_the_cart_of_an_item_of_the_session_is_no_case() -> None:
    recommender = shop()
    step(recommender, ("ann", "mug", 0))
    step(recommender, ("ann", "mug", 1), kind=CART)
    assert judged(recommender) == (0, 0)


def test_removed_shoppers_and_items_are_not_evaluated() -> None:
    recommender = shop()
    step(recommender, ("ann", "mug", 0), ("bob", "cup", 0), ("eve", "pot", 0))
    removals.merge(recommender, "ann", "user")
    removals.remove_shoppers(recommender, recommender.shoppers.get_or_add_many(["bob"]))
    removals.remove_items(recommender, recommender.items.get_or_add_many(["pot"]))
    assert recommender.trainer.items.get_or_add("tin") == 2, "the row that was the pot's"
    step(recommender, ("user", "mug", 1), ("new", "cup", 1), ("eve", "tin", 1))
    assert judged(recommender) == (1, 0)


def test_the_sample_is_bounded_and_may_be_empty() -> None:
    rows = [(f"s{n}", "mug", 0) for n in range(100)]
    later = [(who, item, 1) for who, item, _ in rows]
    for served, lists in (
        (Served(share=0.25), 25),
        (Served(share=0.25, shoppers_max=10), 10),
        (Served(share=0.0), 0),
    ):
        recommender = shop(served)
        step(recommender, *rows)
        step(recommender, *later)
        assert judged(recommender) == (lists, lists)
        item = recommender.components.online_evaluation.tables()[0].columns
        assert all(len(column) <= lists for column in item.values())


def test_an_evaluated_list_counts_half_after_its_half_life() -> None:
    recommender = shop()
    step(recommender, ("ann", "mug", 0))
    step(recommender, ("ann", "mug", 1))
    step(recommender, ("bob", "cup", round(HALF_LIFE_HOURS * 3_600_000)))
    step(recommender, ("bob", "jar", round(HALF_LIFE_HOURS * 3_600_000) + 1))
    figures = recommender.components.online_evaluation.metrics(recommender.items)
    assert float(figures["hit_rate"]) == pytest.approx(0.5 / 1.5, abs=1e-4)


def test_counts_are_restored_and_lists_of_another_shape_are_not() -> None:
    recommender = shop()
    for after_ms in range(4):
        step(recommender, *((f"s{n}", f"i{(n + after_ms) % 5}", after_ms) for n in range(9)))
    ids = {name: v.ids for name, v in recommender.components.row_indexes().items()}
    for served, cases in ((ALL, 9), (Served(share=0.5), 0)):
        other = shop(served)
        other.components.restore(recommender.components.arrays())
        other.components.restore_ids(ids)
        before = other.components.online_evaluation.counts.total.copy()
        assert before.tolist() == recommender.components.online_evaluation.counts.total.tolist()
        step(other, *((f"s{n}", f"i{n % 5}", 9) for n in range(9)))
        assert judged(other)[0] == cases


def test_the_model_keys_in_redis_have_the_metrics(redis_url: str, tmp_path: Path) -> None:
    stream = list(synthetic(events=3000, shoppers=60, items=25, events_per_s=0.05))
    rows = run_flow(stream, redis_url, tmp_path, settings=flow_settings(batch_events=40))
    blend = dict(rows[keys.model_key("blend")])
    assert float(blend[b"judged"]) > 20
    assert 0 < float(blend[b"mrr"]) <= float(blend[b"hit_rate"]) <= 1
    assert 0 < float(blend[b"coverage"]) <= 1
    segments = orjson.loads(blend[b"segments"])
    assert any(name.startswith("cluster-") for name in segments)
    assert all(0 <= mrr <= rate <= 1 for _, rate, mrr in segments.values())
    shares = [dict(rows[keys.model_key(one)])[b"served_share"] for one in ("again", "often")]
    assert sum(map(float, shares)) > 0
