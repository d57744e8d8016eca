"""What Redis shows of clusters: a description of each, and a map of shoppers and centres."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.shoppers.features import FEATURES
from state import keys
from state.segments import cluster_segment_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from operators.segments.clusters.model import ClusterModel
    from state.messages import Write

AXIS_FEATURES = 3
HARDLY_ANY_LIFT = 0.05
"""A typical value below this multiple of the average is described as "hardly any"."""


def cluster_report_writes(
    clusters: ClusterModel, definitions: Mapping[int, tuple[str, int]], now_ms: int
) -> list[Write]:
    """Return the descriptions of the clusters' segments, and the map.

    `definitions` are name and version by cluster.
    """
    return [*_description_writes(clusters), _projection_write(clusters, definitions, now_ms)]


def _description_writes(clusters: ClusterModel) -> list[Write]:
    writes: list[Write] = []
    for cluster, lifts in clusters.lifts(FEATURES).items():
        differences = ", ".join(
            f"{name.replace('_', ' ')} {lift:.1f} x"
            if lift >= HARDLY_ANY_LIFT
            else f"hardly any {name.replace('_', ' ')}"
            for name, lift in lifts
        )
        text = f"Beside everybody: {differences}." if differences else "Much like everybody."
        writes.append(
            ("HSET", keys.definition_key(cluster_segment_id(cluster)), "description", text)
        )
    return writes


def _projection_write(
    clusters: ClusterModel, definitions: Mapping[int, tuple[str, int]], now_ms: int
) -> Write:
    """Return the map: recent shoppers and centres, projected on the plane of the largest
    variance."""
    projection = clusters.projection()
    centres = [
        [*_round(point), cluster_segment_id(c), definitions[c][0]]
        for c, point in sorted(projection.centres.items())
        if c in definitions
    ]
    points = [
        [*_round(point), label]
        for point, label in zip(projection.points, projection.labels.tolist(), strict=True)
    ]
    axes = [
        {"share": round(float(share), 3), "features": _top_features(axis)}
        for axis, share in zip(projection.plane.axes, projection.plane.shares, strict=True)
    ]
    document = {"at": now_ms, "points": points, "centres": centres, "axes": axes}
    return ("SET", keys.clusters_map_key(), orjson.dumps(document).decode())


def _top_features(axis: NDArray[np.float64]) -> list[tuple[str, float]]:
    order = np.argsort(-np.abs(axis), kind="stable")[:AXIS_FEATURES]
    return [(FEATURES[f], round(float(axis[f]), 2)) for f in order.tolist()]


def _round(point: NDArray[np.float64]) -> list[float]:
    return [round(value, 2) for value in point.tolist()]
