"""Our clusterers are River estimators: points, dataframes and arrays learn the same."""

import random
from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

import numpy as np
import pytest
from river import checks, compose, datasets, metrics, preprocessing
from river.checks import common

from operators.models.base import Clusterer
from operators.models.dbstream import Dbstream
from operators.models.minibatch_kmeans import MiniBatchKMeans
from tests.operators.models.test_minibatch_kmeans import GROUPS, around, state


@pytest.fixture
def pandas() -> Any:
    """River takes dataframes of any kind and depends on none."""
    return import_module("pandas")


OURS = [MiniBatchKMeans(n_clusters=3, block_points=20), Dbstream(block_points=20, learned_every=1)]


@pytest.mark.parametrize("model", OURS, ids=lambda model: type(model).__name__)
def test_it_passes_rivers_checks(model: Clusterer) -> None:
    checks.check_estimator(model)


@pytest.mark.parametrize("model", OURS, ids=lambda model: type(model).__name__)
@pytest.mark.parametrize(
    "check",
    [
        common.check_learn_one,
        common.check_pickling,
        common.check_shuffle_features_no_impact,
        common.check_emerging_features,
        common.check_disappearing_features,
        common.check_radically_disappearing_features,
        common.check_predict_one_before_any_learn,
        common.check_no_state_aliasing_with_input,
        common.check_clone_is_independent,
        common.check_seeding_is_idempotent,
    ],
)
def test_it_passes_rivers_checks_with_data(check: Callable[..., None], model: Clusterer) -> None:
    """`check_estimator` has no data for clusterers, so the checks get some here."""
    random.seed(0)
    check(model.clone(), list(datasets.Phishing().take(100)))


def test_it_works_in_a_pipeline_with_rivers_metric() -> None:
    model = compose.Pipeline(preprocessing.StandardScaler(), MiniBatchKMeans(4, block_points=64))
    metric = cast("Any", metrics).Silhouette()
    points, which = around(GROUPS * 100, 400)
    for point in points.tolist():
        x = dict(zip(("width", "height"), point, strict=True))
        model.learn_one(x)
        scaled = model["StandardScaler"].transform_one(x)
        metric.update(scaled, model.predict_one(x), model["MiniBatchKMeans"].centers)
    assert metric.get() < 0.1
    ids = [model.predict_one(dict(zip(("width", "height"), p, strict=True))) for p in points]
    assert len(set(zip(ids, which.tolist(), strict=True))) == 4


def test_one_by_one_and_arrays_learn_the_same() -> None:
    points, _ = around(GROUPS, 300)
    by_one, by_array = (MiniBatchKMeans(4, block_points=64) for _ in range(2))
    for point in points.tolist():
        by_one.learn_one(dict(enumerate(point)))
    by_array.learn_array(points)
    assert state(by_one) == state(by_array)
    ids = [by_one.predict_one(dict(enumerate(point))) for point in points.tolist()]
    assert by_array.predict_array(points).tolist() == ids


def test_dataframes_learn_the_same_in_any_order_of_columns(pandas: Any) -> None:
    points, _ = around(GROUPS, 300)
    table = pandas.DataFrame(points, columns=["a", "b"], index=range(7, 307))
    by_one, by_frame = (MiniBatchKMeans(4, block_points=64) for _ in range(2))
    for point in points.tolist():
        by_one.learn_one(dict(zip("ab", point, strict=True)))
    by_frame.learn_many(table[:100])
    by_frame.learn_many(table[100:][["b", "a"]])
    assert state(by_one) == state(by_frame)
    ids: Any = by_frame.predict_many(table[["b", "a"]])
    assert ids.tolist() == by_one.predict_array(points).tolist()
    assert ids.index.tolist() == table.index.tolist()


def test_a_pipeline_takes_dataframes(pandas: Any) -> None:
    points, which = around(GROUPS, 300)
    model = compose.Pipeline(preprocessing.StandardScaler(), MiniBatchKMeans(4, block_points=64))
    table = pandas.DataFrame(points, columns=["width", "height"])
    model.learn_many(table)
    ids: Any = model.predict_many(table)
    assert len(set(zip(ids, which.tolist(), strict=True))) == 4


def test_a_read_never_changes_the_state() -> None:
    model = MiniBatchKMeans(2, block_points=8)
    model.learn_array(np.arange(24.0).reshape(12, 2))
    before = state(model)
    model.predict_one({0: 1.0, "never seen": 5.0})
    model.predict_array(np.ones((3, 2)))
    assert (state(model), len(model.centers)) == (before, 2)


def test_a_feature_seen_later_was_zero_before() -> None:
    late, early = (
        MiniBatchKMeans(2, block_points=4),
        MiniBatchKMeans(2, block_points=4),
    )
    for i in range(10):
        late.learn_one({"a": float(i % 3)})
        early.learn_one({"a": float(i % 3), "b": 0.0})
    for model in (late, early):
        model.learn_one({"a": 1.0, "b": 2.0})
    assert state(late) == state(early)
