"""The estimators of River that the configuration names, tried before a command begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from state.config import Settings


def check_estimators(settings: Settings) -> None:
    """Try each named estimator. Raises ConfigurationError that names its key."""
    # The imports are here, since every command checks its settings, and most need no River.
    if settings.clusters.estimator:
        from operators.segments.clusters.estimators import check_clusterer

        check_clusterer(settings.clusters.estimator, settings.clusters.seed)
    if settings.propensity.estimator:
        from operators.segments.propensity.estimators import check_classifier

        check_classifier(settings.propensity)
