"""What is told of many, now and then: lists of items and scopes, segments' figures, models."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import orjson

from operators.models.model_metrics import format_metric, model_writes
from operators.recommend.published_index import ITEM_LIST_TTL_S
from operators.segments import stats
from operators.segments.clusters import report
from operators.shoppers.features import FEATURES
from state import keys
from state.segments import cluster_definition, definition_writes
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from operators.models.cluster_count import CountScore
    from operators.personalize.state import PersonalizationState
    from operators.recommend.rendering import RankedLists
    from state.messages import Write
    from state.segments import SegmentDefinition

LIST_MODEL_VERSION = "1"
POPULAR_TTL_S = 2 * 86_400
DAY_STATS_KEPT_MS = DAY_MS + HOUR_MS
"""How long orders and stays that ended are kept: figures are of the last day."""
WHOLE_SHOP = -1
QUALITY_EVERY_EVENTS = 65_536
"""How good the clusters are takes 20 ms to say."""


def item_writes(learned: PersonalizationState, limit: int | None) -> list[Write]:
    """Cards that changed, and at most so many lists of each kind that did, all in turn."""
    recommender, now_ms = learned.recommender, learned.newest_event_ms
    similar_writes = item_list_writes(
        recommender.components.item_lists.take_changed_similar(now_ms, limit),
        keys.similar_key,
        now_ms,
    )
    bought_writes = item_list_writes(
        recommender.components.item_lists.take_changed_bought(now_ms, limit),
        keys.bought_key,
        now_ms,
    )
    return similar_writes + bought_writes + learned.item_cards.take_writes()


def item_list_writes(
    ranked_lists: tuple[list[str], RankedLists], key_of: Callable[[str], str], now_ms: int
) -> list[Write]:
    """Lists of items; one that holds nothing any more is taken back."""
    writes: list[Write] = []
    for name, text in zip(
        ranked_lists[0], ranked_lists[1].json(now_ms, LIST_MODEL_VERSION), strict=True
    ):
        key = key_of(name)
        writes.append(("SET", key, text, "EX", ITEM_LIST_TTL_S) if text else ("DEL", key))
    return writes


def aggregate_writes(
    learned: PersonalizationState, watermark_ms: int, *, last: bool
) -> list[Write]:
    """Lists of scopes, segments' figures, models."""
    recommender, now_ms = learned.recommender, learned.reporting_time_ms
    writes = popular_writes(learned)
    writes += _definition_writes(learned)
    audience, heard_ms = learned.memberships, learned.received_until_ms
    if audience.rows or heard_ms > 0:
        found = learned.segment_scan.scan(audience, now_ms, last=last)
        day = stats.day_stats(audience, found, now_ms)
        writes += stats.stats_writes(audience, day, now_ms, heard_ms, watermark_ms)
        audience.activity.drop_before(now_ms - DAY_STATS_KEPT_MS)
        writes += learned.segment_scan.overlap_writes(audience, last=last)
        writes += learned.lifts.writes(audience, recommender, learned.item_cards, now_ms, last=last)
        writes += learned.shop.stats_writes(
            learned.counters, heard_ms, watermark_ms, day.fields_of(WHOLE_SHOP)
        )
    writes += learned.propensity.model_writes(now_ms)
    return writes + _model_writes(learned, last=last)


def popular_writes(learned: PersonalizationState) -> list[Write]:
    """What is popular in the shop, and in scopes where that changed; nothing there: taken back."""
    recommender, now_ms = learned.recommender, learned.reporting_time_ms
    scopes, ranked = recommender.components.popular_lists.take_changed_scopes()
    told = [*zip(scopes, ranked.json(now_ms, LIST_MODEL_VERSION), strict=True)]
    told += [
        (("all", ""), text)
        for text in recommender.components.popular_lists.popular_list().json(
            now_ms, LIST_MODEL_VERSION
        )
    ]
    trending = recommender.components.popular_lists.trending_list(now_ms).json(
        now_ms, LIST_MODEL_VERSION
    )
    told += [(("trending", ""), text) for text in trending]
    writes: list[Write] = []
    for (kind, value), text in told:
        key = keys.popular_key(kind, value)
        writes.append(("SET", key, text, "EX", POPULAR_TTL_S) if text else ("DEL", key))
    return writes


def _definition_writes(learned: PersonalizationState) -> list[Write]:
    writes: list[Write] = []
    former = {c: name for c, (name, _) in learned.cluster_definitions.items()}
    names = learned.clusters.name_clusters(FEATURES, former)
    changed = {
        c: (name, learned.cluster_definitions[c][1] if c in former else 1)
        for c, name in names.items()
        if former.get(c) != name
    }
    learned.cluster_definitions |= changed
    if not learned.definitions_published:
        by_rule = learned.rule_versions
        writes += by_rule.detect_changes(learned.newest_event_ms, learned.memberships.size_of)
        fixed = [*learned.assignment.definitions, *learned.propensity.definitions]
        writes += definition_writes([*_cluster_definitions(learned.cluster_definitions), *fixed])
        writes += [
            ("HSETNX", keys.definition_key(one.id), "updated_ms", learned.newest_event_ms)
            for one in fixed
        ]
        writes += by_rule.definitions()
        learned.definitions_published = True
    redefined = [*_cluster_definitions(changed), *learned.propensity.changed_definitions()]
    return writes + definition_writes(redefined, learned.newest_event_ms)


def _cluster_definitions(defined: dict[int, tuple[str, int]]) -> list[SegmentDefinition]:
    return [cluster_definition(c, *said) for c, said in sorted(defined.items())]


def _cluster_counts_json(tried: Sequence[CountScore]) -> str:
    """Number, silhouette and inertia of each number of clusters that was tried last, as JSON."""
    said = [(k, round(score, 4), round(left, 1)) for k, score, left in tried]
    return orjson.dumps(said).decode()


def _model_writes(learned: PersonalizationState, *, last: bool) -> list[Write]:
    events, now_ms = learned.counters.accepted, learned.newest_event_ms
    seen: list[Write] = []
    before = learned.cluster_quality
    if (
        before is None
        or last
        or events >= before[0] + QUALITY_EVERY_EVENTS
        # What was said before there were clusters rests on none.
        or (learned.clusters.started and math.isnan(before[1].davies_bouldin))
    ):
        learned.cluster_quality = before = events, learned.clusters.quality()
    quality = before[1]
    if learned.clusters.started and (
        last
        or not learned.clusters.last_published_events
        or events >= learned.clusters.last_published_events + QUALITY_EVERY_EVENTS
    ):
        learned.clusters.last_published_events = events
        seen = report.cluster_report_writes(
            learned.clusters, learned.cluster_definitions, learned.newest_event_ms
        )
    clusters = model_writes(
        "clusters",
        {
            "version": 1,
            "algorithm": learned.clusters.algorithm,
            "trained_ms": now_ms,
            "events": events,
            "k": len(learned.clusters.numbers),
            "k_tried": _cluster_counts_json(learned.clusters.tried),
            "inertia": format_metric(quality.inertia),
            "silhouette": format_metric(quality.silhouette),
            "davies_bouldin": format_metric(quality.davies_bouldin),
            "drifts": learned.clusters.drift_detector.drifts,
            "blocks_since_drift": learned.clusters.drift_detector.values_since_drift,
        },
    )
    blend, served = (
        learned.recommender.components.blend,
        learned.recommender.components.online_evaluation,
    )
    rates, weights = blend.hit_rates(), blend.weights().tolist()
    tried = learned.recommender.components.exploration.metrics()
    lists: list[Write] = []
    for (name, rate), weight in zip(rates.items(), weights, strict=True):
        fields: dict[str, str | int] = {
            "version": 1,
            "algorithm": name,
            "trained_ms": now_ms,
            "events": events,
            "hit_rate": format_metric(rate if blend.evaluated else math.nan),
            "weight": f"{weight:.4f}",
        }
        lists += model_writes(
            name, {**fields, **served.learner_metrics(name), **tried.get(name, {})}
        )
    head: dict[str, str | int] = {
        "version": 1,
        "algorithm": "softmax of learners",
        "trained_ms": now_ms,
    }
    told = {"events": events, **served.metrics(learned.recommender.items)}
    return [*clusters, *seen, *lists, *model_writes("blend", {**head, **told})]
