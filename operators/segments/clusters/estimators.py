"""The clusterers that `clusters.estimator` may name, and the trial that each must pass."""

from __future__ import annotations

from typing import Any

import numpy as np
from river import base

from operators.models.river.expressions import Kind, parse_estimator
from operators.models.river.trials import check_repeats, trial
from operators.shoppers.features import FEATURES

KEY = "clusters.estimator"
CLUSTERER = Kind(base.Clusterer, "a clusterer", "river.cluster.KMeans(n_clusters=8)")
TRIAL_POINTS = 128

DETECTOR_KEY = "clusters.drift_detector"
DETECTOR = Kind(base.DriftDetector, "a detector of drifts in numbers", "river.drift.PageHinkley()")


def parse_clusterer(text: str, seed: int) -> Any:
    """The clusterer that a text names. Raises ConfigurationError."""
    return parse_estimator(text, KEY, CLUSTERER, seed=seed, features=FEATURES)


def parse_detector(text: str, seed: int) -> Any:
    """The drift detector that a text names. Raises ConfigurationError."""
    return parse_estimator(text, DETECTOR_KEY, DETECTOR, seed=seed)


def check_detector(text: str, seed: int) -> int:
    """Let the named detector read some values; returns how many.

    Raises ConfigurationError where it cannot.
    """
    with trial(DETECTOR_KEY, text):
        detector = parse_detector(text, seed)
        for value in np.random.default_rng(0).normal(size=TRIAL_POINTS).tolist():
            detector.update(value)
            bool(detector.drift_detected)
    return TRIAL_POINTS


def check_clusterer(text: str, seed: int) -> int:
    """Let two of the named clusterer learn and assign some points; returns how many.

    Raises ConfigurationError where they cannot.
    """
    rng = np.random.default_rng(0)
    points = rng.normal(size=(TRIAL_POINTS, len(FEATURES)))
    points += 6 * rng.integers(0, 2, (TRIAL_POINTS, 1))
    rows = [dict(enumerate(point)) for point in points.tolist()]
    with trial(KEY, text):
        clusterers = parse_clusterer(text, seed), parse_clusterer(text, seed)
        for clusterer in clusterers:
            for row in rows:
                clusterer.learn_one(row)
        check_repeats(*clusterers, lambda one: [int(one.predict_one(row)) for row in rows])
    return 2 * TRIAL_POINTS
