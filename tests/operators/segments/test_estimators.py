"""Named estimators are tried before a command begins."""

from typing import Any

import pytest

from operators.segments.estimators import check_estimators
from state.config import Clusters, Propensity, Settings
from state.errors import ConfigurationError


@pytest.mark.parametrize(
    "text",
    [
        "river.cluster.KMeans(n_clusters=8)",
        "river.cluster.CluStream(n_macro_clusters=8)",
        "river.cluster.DBSTREAM(clustering_threshold=2)",
        "river.cluster.DenStream(epsilon=1.5)",
        "river.cluster.STREAMKMeans(n_clusters=8)",
        "river.preprocessing.MinMaxScaler() | river.cluster.KMeans(n_clusters=8)",
    ],
)
def test_a_clusterer_that_works_passes(text: str) -> None:
    check_estimators(Settings(clusters=Clusters(estimator=text)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("river.cluster.ODAC()", "raised NotImplementedError"),
        ("river.cluster.TextClust()", "raised TypeError"),
        ("river.cluster.KMeans(n_clusters=0)", "raised ValueError"),
        ("river.cluster.CluStream(time_gap=0)", "raised ZeroDivisionError"),
        ("river.cluster.CluStream(n_macro_cluster=3, time_gap=9)", "raised TypeError"),
        ("river.cluster.KMeans(k=8)", "has no parameter `k`"),
    ],
)
def test_one_that_cannot_work_is_an_error_of_its_key(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_estimators(Settings(clusters=Clusters(estimator=text)))
    assert str(caught.value).startswith(f"clusters.estimator: {text!r}")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("text", "block"),
    [
        ("river.linear_model.LogisticRegression(optimizer=river.optim.AdaGrad(.1))", 1),
        ("river.linear_model.LogisticRegression()", 16),
        ("river.preprocessing.StandardScaler() | river.linear_model.LogisticRegression()", 16),
        ("river.tree.HoeffdingAdaptiveTreeClassifier()", 1),
        ("river.forest.ARFClassifier(n_models=2)", 1),
        ("river.ensemble.BaggingClassifier(river.naive_bayes.GaussianNB(), n_models=2)", 1),
        ("river.compose.Select('purchases') | river.linear_model.LogisticRegression()", 1),
        ("river.compose.Select('purchases') | river.linear_model.LogisticRegression()", 8),
    ],
)
def test_a_classifier_that_works_passes(text: str, block: int) -> None:
    check_estimators(Settings(propensity=Propensity(estimator=text, estimator_block=block)))


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"estimator": "river.cluster.KMeans()"}, "KMeans is not a classifier"),
        (
            {
                "estimator": "river.multiclass.OneVsOneClassifier("
                "river.linear_model.LogisticRegression())"
            },
            "in a trial it raised NotImplementedError",
        ),
        ({"estimator": "river.ensemble.VotingClassifier([])"}, "At least 2 models are expected"),
        (
            {"estimator": "river.tree.HoeffdingTreeClassifier()", "estimator_block": 16},
            "set propensity.estimator_block to 1",
        ),
        ({"metrics": ("river.metrics.F1()", "river.metrics.MAE()")}, "MAE is not a metric"),
        ({"metrics": ("river.metrics.ClassificationReport()",)}, "in a trial it raised"),
        ({"metrics": ("river.metrics.FBets(1)",)}, "did you mean river.metrics.FBeta"),
    ],
)
def test_a_classifier_or_metric_that_cannot_work_is_an_error_of_its_key(
    sections: dict[str, Any], problem: str
) -> None:
    settings = Settings(propensity=Propensity(**sections))
    with pytest.raises(ConfigurationError) as caught:
        check_estimators(settings)
    assert str(caught.value).startswith(f"propensity.{next(iter(sections))}: ")
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    "text", ["river.drift.PageHinkley()", "river.drift.KSWIN()", "river.drift.ADWIN(delta=.01)"]
)
def test_a_drift_detector_that_works_passes(text: str) -> None:
    check_estimators(Settings(clusters=Clusters(drift_detector=text)))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("river.drift.binary.DDM()", "DDM is not a detector of drifts in numbers"),
        ("river.drift.KSWIN(window_size=1)", "stat_size must be smaller"),
        ("river.drift.PageHinkly()", "did you mean river.drift.PageHinkley"),
    ],
)
def test_a_drift_detector_that_cannot_work_is_an_error_of_its_key(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_estimators(Settings(clusters=Clusters(drift_detector=text)))
    assert str(caught.value).startswith("clusters.drift_detector: ")
    assert problem in str(caught.value)
