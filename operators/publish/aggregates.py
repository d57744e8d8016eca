"""What is told of many, now and then: lists of items and scopes, segments' figures, models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import orjson

from operators.models.model_metrics import figure, model
from operators.recommend.published_index import ITEM_LIST_TTL_S
from operators.segments import stats
from operators.segments.clusters import report
from operators.shoppers.features import FEATURES
from state import keys
from state.segments import cluster_definition, definition_writes
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from operators.models.cluster_count import Tried
    from operators.personalize.state import Learned
    from operators.recommend.rendering import RankedLists
    from state.messages import Write
    from state.segments import Definition

MODEL = "1"
POPULAR_TTL_S = 2 * 86_400
KEPT_MS = DAY_MS + HOUR_MS
"""How long orders and stays that ended are kept: figures are of the last day."""
WHOLE_SHOP = -1
QUALITY_EVERY_EVENTS = 65_536
"""How good the clusters are takes 20 ms to say."""


def items(learned: Learned, most: int | None) -> list[Write]:
    """Cards that changed, and at most so many lists of each kind that did, all in turn."""
    recommender, now_ms = learned.recommender, learned.now_ms
    similar = of_items(recommender.of_items.similar(now_ms, most), keys.similar_key, now_ms)
    bought = of_items(recommender.of_items.bought_together(now_ms, most), keys.bought_key, now_ms)
    return similar + bought + learned.cards.writes()


def of_items(
    told: tuple[list[str], RankedLists], key_of: Callable[[str], str], now_ms: int
) -> list[Write]:
    """Lists of items; one that holds nothing any more is taken back."""
    writes: list[Write] = []
    for name, text in zip(told[0], told[1].json(now_ms, MODEL), strict=True):
        key = key_of(name)
        writes.append(("SET", key, text, "EX", ITEM_LIST_TTL_S) if text else ("DEL", key))
    return writes


def figures(learned: Learned, watermark_ms: int, *, last: bool) -> list[Write]:
    """Lists of scopes, segments' figures, models."""
    recommender, now_ms = learned.recommender, learned.moment_ms
    writes = popular(learned)
    writes += _definitions(learned)
    audience, heard_ms = learned.audience, learned.heard_ms
    if audience.rows or heard_ms > 0:
        found = learned.census.look(audience, now_ms, last=last)
        day = stats.day(audience, found, now_ms)
        writes += stats.stats(audience, day, now_ms, heard_ms, watermark_ms)
        audience.worth.sweep(now_ms - KEPT_MS)
        writes += learned.census.overlap(audience, last=last)
        writes += learned.lifts.writes(audience, recommender, learned.cards, now_ms, last=last)
        writes += learned.standing.shop.figures(
            learned.ledger, heard_ms, watermark_ms, day.of(WHOLE_SHOP)
        )
    writes += learned.propensity.models(now_ms)
    return writes + _models(learned, last=last)


def popular(learned: Learned) -> list[Write]:
    """What is popular in the shop, and in scopes where that changed; nothing there: taken back."""
    recommender, now_ms = learned.recommender, learned.moment_ms
    scopes, ranked = recommender.of_all.popular_scopes()
    told = [*zip(scopes, ranked.json(now_ms, MODEL), strict=True)]
    told += [(("all", ""), text) for text in recommender.of_all.popular().json(now_ms, MODEL)]
    trending = recommender.of_all.trending_now(now_ms).json(now_ms, MODEL)
    told += [(("trending", ""), text) for text in trending]
    writes: list[Write] = []
    for (kind, value), text in told:
        key = keys.popular_key(kind, value)
        writes.append(("SET", key, text, "EX", POPULAR_TTL_S) if text else ("DEL", key))
    return writes


def _definitions(learned: Learned) -> list[Write]:
    writes: list[Write] = []
    former = {c: name for c, (name, _) in learned.defined.items()}
    names = learned.clusters.describe(FEATURES, former)
    changed = {
        c: (name, learned.defined[c][1] if c in former else 1)
        for c, name in names.items()
        if former.get(c) != name
    }
    learned.defined |= changed
    if not learned.told_definitions:
        by_rule = learned.rule_versions
        writes += by_rule.settle(learned.now_ms, learned.audience.size_of)
        fixed = [*learned.standing.definitions, *learned.propensity.definitions]
        writes += definition_writes([*_clusters(learned.defined), *fixed])
        writes += [
            ("HSETNX", keys.definition_key(one.id), "updated_ms", learned.now_ms) for one in fixed
        ]
        writes += by_rule.definitions()
        learned.told_definitions = True
    redefined = [*_clusters(changed), *learned.propensity.redefined()]
    return writes + definition_writes(redefined, learned.now_ms)


def _clusters(defined: dict[int, tuple[str, int]]) -> list[Definition]:
    return [cluster_definition(c, *said) for c, said in sorted(defined.items())]


def _tried(tried: Sequence[Tried]) -> str:
    """Number, silhouette and inertia of each number of clusters that was tried last, as JSON."""
    said = [(k, round(score, 4), round(left, 1)) for k, score, left in tried]
    return orjson.dumps(said).decode()


def _models(learned: Learned, *, last: bool) -> list[Write]:
    events, now_ms = learned.ledger.accepted, learned.now_ms
    seen: list[Write] = []
    before = learned.quality
    if (
        before is None
        or last
        or events >= before[0] + QUALITY_EVERY_EVENTS
        # What was said before there were clusters rests on none.
        or (learned.clusters.started and math.isnan(before[1].davies_bouldin))
    ):
        learned.quality = before = events, learned.clusters.quality()
    quality = before[1]
    if learned.clusters.started and (
        last
        or not learned.clusters.told_at
        or events >= learned.clusters.told_at + QUALITY_EVERY_EVENTS
    ):
        learned.clusters.told_at = events
        seen = report.figures(learned)
    clusters = model(
        "clusters",
        {
            "version": 1,
            "algorithm": learned.clusters.algorithm,
            "trained_ms": now_ms,
            "events": events,
            "k": len(learned.clusters.numbers),
            "k_tried": _tried(learned.clusters.tried),
            "inertia": figure(quality.inertia),
            "silhouette": figure(quality.silhouette),
            "davies_bouldin": figure(quality.davies_bouldin),
            "drifts": learned.clusters.alarm.drifts,
            "blocks_since_drift": learned.clusters.alarm.since,
        },
    )
    blend, served = learned.recommender.blend, learned.recommender.served
    rates, weights = blend.hit_rates(), blend.weights().tolist()
    tried = learned.recommender.exploration.figures()
    lists: list[Write] = []
    for (name, rate), weight in zip(rates.items(), weights, strict=True):
        fields: dict[str, str | int] = {
            "version": 1,
            "algorithm": name,
            "trained_ms": now_ms,
            "events": events,
            "hit_rate": figure(rate if blend.judged else math.nan),
            "weight": f"{weight:.4f}",
        }
        lists += model(name, {**fields, **served.figures_of(name), **tried.get(name, {})})
    head: dict[str, str | int] = {
        "version": 1,
        "algorithm": "softmax of learners",
        "trained_ms": now_ms,
    }
    told = {"events": events, **served.figures(learned.recommender.items)}
    return [*clusters, *seen, *lists, *model("blend", {**head, **told})]
