"""The metrics of the clusters, of each learner of lists, and of their blend."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import orjson

from operators.models.model_metrics import format_metric, model_writes
from operators.publish import cluster_report

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from operators.models.cluster_count import CountScore
    from operators.recommend.recommender import Recommender
    from operators.segments.clusters.model import ClusterModel, ClusterQuality
    from state.messages import Write

QUALITY_EVERY_EVENTS = 65_536
"""Measuring the quality of the clusters takes 20 ms."""


class ClusterReport:
    """Publishes the clusters. Their quality, measured now and then, is not stored."""

    def __init__(
        self, clusters: ClusterModel, cluster_definitions: Mapping[int, tuple[str, int]]
    ) -> None:
        self._clusters = clusters
        self._cluster_definitions = cluster_definitions
        self._quality: tuple[int, ClusterQuality] | None = None

    def writes(self, events: int, now_ms: int, *, last: bool) -> list[Write]:
        """The metrics, and now and then the descriptions and the map."""
        clusters = self._clusters
        quality = self._measured_quality(events, last=last)
        described: list[Write] = []
        if clusters.started and (
            last
            or not clusters.last_published_events
            or events >= clusters.last_published_events + QUALITY_EVERY_EVENTS
        ):
            clusters.last_published_events = events
            described = cluster_report.cluster_report_writes(
                clusters, self._cluster_definitions, now_ms
            )
        failures: dict[str, str | int] = (
            {"failures": clusters.failures} if clusters.failures else {}
        )
        metrics = model_writes(
            "clusters",
            {
                **failures,
                "version": 1,
                "algorithm": clusters.algorithm,
                "trained_ms": now_ms,
                "events": events,
                "k": len(clusters.numbers),
                "k_tried": _cluster_counts_json(clusters.tried),
                "inertia": format_metric(quality.inertia),
                "silhouette": format_metric(quality.silhouette),
                "davies_bouldin": format_metric(quality.davies_bouldin),
                "drifts": clusters.drift_detector.drifts,
                "blocks_since_drift": clusters.drift_detector.values_since_drift,
            },
        )
        return [*metrics, *described]

    def _measured_quality(self, events: int, *, last: bool) -> ClusterQuality:
        measured = self._quality
        if (
            measured is None
            or last
            or events >= measured[0] + QUALITY_EVERY_EVENTS
            # Before there were clusters, there was nothing to measure.
            or (self._clusters.started and math.isnan(measured[1].davies_bouldin))
        ):
            self._quality = measured = events, self._clusters.quality()
        return measured[1]


def list_model_writes(recommender: Recommender, events: int, now_ms: int) -> list[Write]:
    """The metrics of each learner, and of the blend of their lists."""
    components = recommender.components
    blend, evaluation = components.blend, components.online_evaluation
    explored = components.exploration.metrics()
    writes: list[Write] = []
    weights = blend.weights().tolist()
    for (name, rate), weight in zip(blend.hit_rates().items(), weights, strict=True):
        fields: dict[str, str | int] = {
            "version": 1,
            "algorithm": name,
            "trained_ms": now_ms,
            "events": events,
            "hit_rate": format_metric(rate if blend.evaluated else math.nan),
            "weight": f"{weight:.4f}",
        }
        more = {**evaluation.learner_metrics(name), **explored.get(name, {})}
        writes += model_writes(name, {**fields, **more})
    head: dict[str, str | int] = {
        "version": 1,
        "algorithm": "softmax of learners",
        "trained_ms": now_ms,
    }
    metrics = {"events": events, **evaluation.metrics(recommender.items)}
    return [*writes, *model_writes("blend", {**head, **metrics})]


def _cluster_counts_json(tried: Sequence[CountScore]) -> str:
    """Number, silhouette and inertia of each number of clusters that was tried last, as JSON."""
    rows = [(k, round(score, 4), round(inertia, 1)) for k, score, inertia in tried]
    return orjson.dumps(rows).decode()
