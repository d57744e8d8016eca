"""The same input gives the same model in every process, although Python hashes texts anew in each."""

import os
import subprocess
import sys

import pytest

SCRIPT = """
import numpy as np
from operators.segments.clusters.estimators import parse_clusterer
from operators.segments.propensity.estimators import named_classifier
from operators.segments.propensity.features import SHOPPER_FEATURES
from state.config import Propensity

points = np.random.default_rng(0).normal(size=(400, len(SHOPPER_FEATURES)))
rows = [dict(enumerate(point)) for point in points.tolist()]
for text in ("KMeans()", "CluStream(max_micro_clusters=20)", "DBSTREAM(2.5)"):
    model = parse_clusterer(f"river.cluster.{text}", 7)
    for row in rows:
        model.learn_one(row)
    print([model.predict_one(row) for row in rows[:50]])
for text in (
    "river.tree.HoeffdingAdaptiveTreeClassifier(grace_period=20)",
    "river.forest.ARFClassifier(n_models=2)",
    "river.preprocessing.StandardScaler() | river.linear_model.LogisticRegression()",
):
    model = named_classifier(Propensity(estimator=text), SHOPPER_FEATURES)
    model.learn_array(points, (points[:, 0] > 0).astype(float))
    print(model.predict_array(points[:50]).tolist())
"""


@pytest.mark.slow
def test_models_do_not_depend_on_how_python_hashes_texts() -> None:
    found = [
        subprocess.run(
            [sys.executable, "-W", "ignore", "-c", SCRIPT],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert found[0] == found[1] != b""
