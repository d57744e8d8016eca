"""What is told of clusters now and then: what sets each apart, and a map of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import orjson

from operators.shoppers.features import FEATURES
from state import keys
from state.segments import cluster_id

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.personalize.state import Learned
    from state.messages import Write

AXIS_FEATURES = 3
HARDLY = 0.05
"""How many times as much as everybody is told as hardly any."""


def figures(learned: Learned) -> list[Write]:
    """The descriptions of the clusters' segments, and the map."""
    return [*_apart(learned), _map(learned)]


def _apart(learned: Learned) -> list[Write]:
    writes: list[Write] = []
    for cluster, lifts in learned.clusters.lifts(FEATURES).items():
        told = ", ".join(
            f"{name.replace('_', ' ')} {lift:.1f} x"
            if lift >= HARDLY
            else f"hardly any {name.replace('_', ' ')}"
            for name, lift in lifts
        )
        text = f"Beside everybody: {told}." if told else "Much like everybody."
        writes.append(("HSET", keys.definition_key(cluster_id(cluster)), "description", text))
    return writes


def _map(learned: Learned) -> Write:
    """Recent shoppers and the centres in the plane in which shoppers differ most."""
    seen = learned.clusters.map()
    centres = [
        [*_rounded(place), cluster_id(c), learned.defined[c][0]]
        for c, place in sorted(seen.centres.items())
        if c in learned.defined
    ]
    points = [
        [*_rounded(place), label]
        for place, label in zip(seen.points, seen.labels.tolist(), strict=True)
    ]
    axes = [
        {"share": round(float(share), 3), "features": _strongest(axis)}
        for axis, share in zip(seen.plane.axes, seen.plane.shares, strict=True)
    ]
    drawn = {"at": learned.now_ms, "points": points, "centres": centres, "axes": axes}
    return ("SET", keys.clusters_map_key(), orjson.dumps(drawn).decode())


def _strongest(axis: NDArray[np.float64]) -> list[tuple[str, float]]:
    order = np.argsort(-np.abs(axis), kind="stable")[:AXIS_FEATURES]
    return [(FEATURES[f], round(float(axis[f]), 2)) for f in order.tolist()]


def _rounded(place: NDArray[np.float64]) -> list[float]:
    return [round(value, 2) for value in place.tolist()]
