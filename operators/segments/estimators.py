"""The estimators of River that the configuration names, tried before a command begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.segments.clusters.estimators import check_clusterer
from operators.segments.propensity.estimators import check_classifier

if TYPE_CHECKING:
    from state.config import Settings


def check_estimators(settings: Settings) -> None:
    """Try each named estimator. Raises ConfigurationError that names its key."""
    if settings.clusters.estimator:
        check_clusterer(settings.clusters.estimator, settings.clusters.seed)
    if settings.propensity.estimator:
        check_classifier(settings.propensity)
