"""Named estimators are tried before a command begins."""

import pytest

from operators.segments.estimators import check_estimators
from state.config import Clusters, Settings
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
