"""The report of clusters: the description of each segment, and the map of shoppers and centres."""

import numpy as np
import orjson

from operators.publish.cluster_report import AXIS_FEATURES, cluster_report_writes
from operators.segments.clusters.model import MAP_POINTS, ClusterModel
from operators.shoppers.features import FEATURES
from state import keys


def test_each_cluster_has_a_description_and_all_are_on_the_map() -> None:
    """Two kinds of shoppers: a few with many views, the others with none of anything."""
    rng = np.random.default_rng(3)
    rows = np.zeros((1024, len(FEATURES)))
    views = FEATURES.index("views")
    rows[::4, views] = 4.0 + rng.normal(size=256) / 10
    clusters = ClusterModel(2, len(FEATURES))
    clusters.learn(rows)
    many = int(clusters.assign(rows[:1])[0][0])
    names = {many: ("Many views", 1), 1 - many: ("Average", 1)}

    *descriptions, projection = cluster_report_writes(clusters, names, 7)

    assert {write[1]: write[2:] for write in descriptions} == {
        keys.definition_key(f"cluster-{many}"): (
            "description",
            f"Beside everybody: views {np.expm1(4.0) / np.expm1(1.0):.1f} x.",
        ),
        keys.definition_key(f"cluster-{1 - many}"): (
            "description",
            "Beside everybody: hardly any views.",
        ),
    }
    kind, key, text = projection
    drawn = orjson.loads(str(text))
    assert (kind, key, drawn["at"]) == ("SET", keys.clusters_map_key(), 7)
    assert len(drawn["points"]) == MAP_POINTS
    assert {tuple(centre[2:]) for centre in drawn["centres"]} == {
        (f"cluster-{number}", name) for number, (name, _) in names.items()
    }
    assert [len(axis["features"]) for axis in drawn["axes"]] == [AXIS_FEATURES] * 2
    assert drawn["axes"][0]["features"][0][0] == "views"
