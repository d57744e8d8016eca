"""The classifiers that `propensity.estimator` may name, and the trial that each must pass."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from river import base, metrics

from operators.events.processing_errors import ProcessingErrors
from operators.models.river.expressions import Kind, parse_estimator
from operators.models.river.named_classifier import (
    NamedClassifier,
    chance_of,
    chances_of_frame,
    data_frame,
    series,
)
from operators.models.river.named_metrics import NamedMetrics, update_metric
from operators.models.river.trials import check_repeats, trial
from operators.segments.propensity.features import SESSION_FEATURES, SHOPPER_FEATURES
from state.errors import InstallationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from state import config

    Floats = NDArray[np.float64]

KEY = "propensity.estimator"
CLASSIFIER = Kind(base.Classifier, "a classifier", "river.linear_model.LogisticRegression()")
TRIAL_POINTS = 64

METRICS_KEY = "propensity.metrics"
METRIC = Kind(metrics.base.ClassificationMetric, "a metric of a classifier", "river.metrics.F1()")


def named_classifier(
    settings: config.Propensity, features: Sequence[str], errors: ProcessingErrors | None = None
) -> NamedClassifier | None:
    """The classifier that the configuration names, new; None for ours. Raises ConfigurationError."""
    if not settings.estimator:
        return None
    classifier = _parse(settings, features)
    return NamedClassifier(
        classifier,
        settings.estimator,
        features,
        errors or ProcessingErrors("propensity"),
        settings.estimator_block,
    )


def named_metrics(
    settings: config.Propensity, errors: ProcessingErrors | None = None
) -> NamedMetrics:
    """The metrics that the configuration names, new. Raises ConfigurationError."""
    parsed = {text: _parse_metric(settings, text) for text in settings.metrics}
    return NamedMetrics(parsed, errors or ProcessingErrors("propensity"))


def check_metrics(settings: config.Propensity) -> int:
    """Let two of each named metric compare some chances; returns how many.

    Raises ConfigurationError where they cannot.
    """
    rng = np.random.default_rng(0)
    rows = np.column_stack([rng.random(TRIAL_POINTS) < 0.5, rng.random(TRIAL_POINTS)]).tolist()
    for text in settings.metrics:
        with trial(METRICS_KEY, text):
            pair = _parse_metric(settings, text), _parse_metric(settings, text)
            for metric in pair:
                update_metric(metric, rows)
            check_repeats(*pair, lambda one: float(one.get()))
    return 2 * TRIAL_POINTS * len(settings.metrics)


def check_classifier(settings: config.Propensity) -> int:
    """Let two of the named classifier learn and predict some outcomes, with the features of each
    model; returns how many.

    Raises ConfigurationError where it cannot, InstallationError where it needs a package.
    """
    is_in_blocks = settings.estimator_block > 1
    if is_in_blocks:
        _require_pandas(settings.estimator_block)
    for features in (SESSION_FEATURES, SHOPPER_FEATURES):
        with trial(KEY, settings.estimator):
            first, second = _parse(settings, features), _parse(settings, features)
            points = np.random.default_rng(0).normal(size=(TRIAL_POINTS, len(features)))
            check = _check_blocks if is_in_blocks else _check_one_by_one
            check(first, second, points, features)
    return 4 * TRIAL_POINTS


def _parse_metric(settings: config.Propensity, text: str) -> Any:
    return parse_estimator(text, METRICS_KEY, METRIC, seed=settings.seed)


def _parse(settings: config.Propensity, features: Sequence[str]) -> Any:
    numbered = features if settings.estimator_block == 1 else ()  # the columns of frames have names
    return parse_estimator(
        settings.estimator, KEY, CLASSIFIER, seed=settings.seed, features=numbered
    )


def _check_one_by_one(first: Any, second: Any, points: Floats, _: Sequence[str]) -> None:
    rows = [dict(enumerate(point)) for point in points.tolist()]
    for classifier in (first, second):
        for row in rows:
            classifier.learn_one(row, row[0] > 0)
    check_repeats(
        first, second, lambda one: [chance_of(one.predict_proba_one(row)) for row in rows]
    )


def _check_blocks(first: Any, second: Any, points: Floats, features: Sequence[str]) -> None:
    frame, outcomes = data_frame(points, features), series(points[:, 0] > 0)
    for classifier in (first, second):
        if not hasattr(classifier, "learn_many"):
            raise TypeError("it cannot learn in blocks: set propensity.estimator_block to 1")
        classifier.learn_many(frame, outcomes)
    check_repeats(
        first, second, lambda one: chances_of_frame(one.predict_proba_many(frame)).tolist()
    )


def _require_pandas(block_rows: int) -> None:
    try:
        series(np.zeros(1))
    except ImportError as error:
        raise InstallationError(
            f"propensity.estimator_block {block_rows}: River learns blocks in data frames, which "
            "needs pandas: pip install 'pandas>=3', or set it to 1"
        ) from error
