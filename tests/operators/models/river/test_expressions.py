"""Estimators by expression: what is read, what is refused, and what the message says to write."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from river import base, cluster, compose, linear_model, preprocessing

from operators.models.river.expressions import MODULES, Kind, _classes, parse_estimator
from state.errors import ConfigurationError

CLUSTERER = Kind(base.Clusterer, "a clusterer", "river.cluster.KMeans(n_clusters=8)")
CLASSIFIER = Kind(base.Classifier, "a classifier", "river.linear_model.LogisticRegression()")
FEATURES = ("visits", "views")


def read(text: str, kind: Kind = CLUSTERER) -> Any:
    return parse_estimator(text, "clusters.estimator", kind, seed=7, features=FEATURES)


def test_a_class_with_literals_is_that_estimator() -> None:
    found = read("river.cluster.KMeans(n_clusters=3, halflife=.25, mu=-1, seed=1)")
    assert type(found) is cluster.KMeans
    assert (found.n_clusters, found.halflife, found.mu, found.seed) == (3, 0.25, -1, 1)


@pytest.mark.parametrize("given_seed", ["", ", seed=None"])
def test_a_random_part_without_a_seed_gets_the_one_of_the_configuration(given_seed: str) -> None:
    assert read(f"river.cluster.KMeans(n_clusters=3{given_seed})").seed == 7
    assert read("river.cluster.STREAMKMeans(n_clusters=3)").kwargs == {"seed": 7}
    assert read("river.cluster.KMeans(3, .5, 0, 1, 2, None)").seed == 7
    assert read("river.neighbors.KNNClassifier()", CLASSIFIER).engine.seed == 7


def test_estimators_are_nested_and_piped() -> None:
    found = read(
        "river.preprocessing.StandardScaler() | "
        "river.linear_model.LogisticRegression(optimizer=river.optim.AdaGrad(.1))",
        CLASSIFIER,
    )
    assert type(found) is compose.Pipeline
    scaler, model = found.steps.values()
    assert (type(scaler), type(model)) == (
        preprocessing.StandardScaler,
        linear_model.LogisticRegression,
    )
    assert model.optimizer.learning_rate == 0.1


def test_a_union_of_transformers_is_read() -> None:
    found = read(
        "(river.preprocessing.StandardScaler() + river.preprocessing.MinMaxScaler())"
        " | river.cluster.KMeans()"
    )
    assert [type(one).__name__ for one in found.steps.values()] == ["TransformerUnion", "KMeans"]


def test_the_name_of_a_feature_stands_for_its_number() -> None:
    found = read("river.compose.Select('views') | river.cluster.KMeans(n_clusters=2)")
    assert found.transform_one({0: 5.0, 1: 3.0}) == {1: 3.0}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("river.cluster.KMean()", "does not exist: did you mean river.cluster.KMeans?"),
        ("river.cluter.KMeans()", "did you mean river.cluster?"),
        ("river.tree.KMeans()", "did you mean river.cluster.KMeans?"),
        ("KMeans()", "`KMeans` is not a name under `river.`: did you mean river.cluster.KMeans?"),
        ("river.cluster.KMeans", "needs parentheses: river.cluster.KMeans()"),
        ("river.cluster.KMeans(n_cluster=8)", "no parameter `n_cluster`: did you mean n_clusters?"),
        ("river.cluster.KMeans(1, 2, 3, 4, 5, 6, 7, 8)", "river.cluster.KMeans: "),
        ("river.linear_model.LogisticRegression()", "LogisticRegression is not a clusterer"),
        ("river.preprocessing.StandardScaler()", "StandardScaler is not a clusterer"),
        ("8", "int is not a clusterer"),
        ("river.cluster.KMeans() | 8", "both sides must be estimators"),
        ("river.cluster.KMeans() * river.cluster.KMeans()", "only | and + combine estimators"),
        ("river.cluster.KMeans(*[8])", "* and ** are not read"),
        ("river.cluster.KMeans(**{})", "* and ** are not read"),
        ("river.cluster.KMeans(n_clusters=2**9)", "both sides must be estimators"),
        ("river.cluster.KMeans(n_clusters=len('ab'))", "`len` is not a name under `river.`"),
        ("river.datasets.Phishing()", "`river.datasets` is no module of River that may be used"),
        ("river.stream.iter_csv('/etc/passwd')", "`river.stream` is no module of River"),
        ("__import__('os').system('true')", "is not a name under `river.`"),
        ("(lambda: 1)()", "is not a name under `river.`"),
        ("[x for x in ()]", "is neither a class of River nor a plain value"),
        ("river.cluster.KMeans(mu=b'1')", "is neither a number nor a text"),
        ("river.cluster.KMeans(", "cannot be read (SyntaxError"),
        ("", "cannot be read (SyntaxError"),
        ("(" * 300, "cannot be read (SyntaxError"),
        ("river.cluster.KMeans(mu=" + "-" * 1900 + "1)", "cannot be read ("),
        ("9" * 3000, "longer than 2000 characters"),
        ("\0", "cannot be read ("),
    ],
)
def test_anything_else_is_refused_with_what_to_write(text: str, problem: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith("clusters.estimator: ")
    assert problem in message
    assert "docs/river.md" in message
    assert "\n" not in message


@given(st.text(max_size=80))
def test_no_text_gives_anything_but_an_estimator_or_a_configuration_error(text: str) -> None:
    with pytest.raises(ConfigurationError):
        read(text)


def test_every_allowed_module_has_classes() -> None:
    assert [module for module in MODULES if not _classes(module)] == []
