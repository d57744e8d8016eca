"""What the configuration names of River, tried before a command begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from state.config import Settings


def named(settings: Settings) -> dict[str, str]:
    """The keys that name something of River, with what they name."""
    values = {
        "clusters.estimator": settings.clusters.estimator,
        "clusters.drift_detector": settings.clusters.drift_detector,
        "propensity.estimator": settings.propensity.estimator,
        "propensity.metrics": ", ".join(settings.propensity.metrics),
    }
    return {key: value for key, value in values.items() if value}


def check_estimators(settings: Settings) -> None:
    """Try all that is named. Raises ConfigurationError that names its key."""
    for key in named(settings):
        check_named(settings, key)


def check_named(settings: Settings, key: str) -> int:
    """Try what one key names; returns how many rows it learned and predicted in the trial.

    Raises ConfigurationError where it cannot be used.
    """
    # The imports are here, since every command checks its settings, and most need no River.
    if key.startswith("clusters."):
        from operators.segments.clusters import estimators as of_clusters

        if key == of_clusters.KEY:
            return of_clusters.check_clusterer(settings.clusters.estimator, settings.clusters.seed)
        return of_clusters.check_detector(settings.clusters.drift_detector, settings.clusters.seed)
    from operators.segments.propensity import estimators as of_propensity

    if key == of_propensity.KEY:
        return of_propensity.check_classifier(settings.propensity)
    return of_propensity.check_metrics(settings.propensity)
