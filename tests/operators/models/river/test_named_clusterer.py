"""A clusterer of River in the place of ours: ids that stay, bounded groups, failures, resume."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import base, cluster

from operators.events.processing_errors import ProcessingErrors
from operators.models.river.named_clusterer import GROUPS_MAX, NamedClusterer
from state.errors import SnapshotError
from tests.operators.models.test_minibatch_kmeans import GROUPS, around

EXPRESSIONS = {
    "river.cluster.KMeans(n_clusters=4, halflife=.05, sigma=10, seed=7)": lambda: cluster.KMeans(
        n_clusters=4, halflife=0.05, sigma=10, seed=7
    ),
    "river.cluster.DBSTREAM(clustering_threshold=4)": lambda: cluster.DBSTREAM(
        clustering_threshold=4
    ),
    "river.cluster.CluStream(n_macro_clusters=4, max_micro_clusters=20, seed=7, sigma=10)": (
        lambda: cluster.CluStream(n_macro_clusters=4, max_micro_clusters=20, seed=7, sigma=10)
    ),
}


def named(make: Any, expression: str = "an estimator", errors: Any = None) -> NamedClusterer:
    return NamedClusterer(
        make(), expression, 2, errors or ProcessingErrors("clusters"), block_points=64
    )


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_points_of_a_group_keep_its_id(expression: str) -> None:
    model = named(EXPRESSIONS[expression], expression)
    points, which = around(GROUPS, 6000)
    model.learn_array(points[:1000])
    before = model.assign(points)[0]
    for part in np.array_split(points[1000:], 9):
        model.learn_array(part)
    after = model.assign(points)[0]
    for ids in (before, after):
        pairs = set(zip(ids.tolist(), which.tolist(), strict=True))
        common = [pair for pair in pairs if (ids[which == pair[1]] == pair[0]).mean() > 0.5]
        assert len(common) == 4
    assert (before == after).mean() > 0.7


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 1500), st.sampled_from(sorted(EXPRESSIONS)))
def test_a_restored_clusterer_continues_in_the_same_way(crash_at: int, expression: str) -> None:
    points, _ = around(GROUPS, 1500)
    one, restored = (named(EXPRESSIONS[expression], expression) for _ in range(2))
    one.learn_array(points[:crash_at])
    restored.restore(one.arrays())
    for model in (one, restored):
        model.learn_array(points[crash_at:])
    results = [[part.tolist() for part in model.assign(points[:200])] for model in (one, restored)]
    assert str(results[0]) == str(results[1])
    assert str(one.centres_by_id()) == str(restored.centres_by_id())
    assert one._learning.stored == restored._learning.stored


@pytest.mark.parametrize("name", ["named.estimator", "named.river"])
def test_the_state_of_another_estimator_or_release_is_refused(name: str) -> None:
    model = named(lambda: cluster.KMeans(seed=1))
    arrays = {**model.arrays(), name: np.array(["another"])}
    with pytest.raises(SnapshotError, match="is another, expected"):
        model.restore(arrays)


class LabelledAnew(base.Clusterer):
    """Knows the four groups, and numbers them anew whenever it learns."""

    def __init__(self) -> None:
        self.shift = 0

    def learn_one(self, x: dict[Any, float]) -> None:
        self.shift += 1

    def predict_one(self, x: dict[Any, float]) -> int:
        return (int(x[0] > 10) + 2 * int(x[1] > 10) + self.shift) % 4


class Raises(LabelledAnew):
    """Raises at some points, in learning as in predicting."""

    def learn_one(self, x: dict[Any, float]) -> None:
        if x[0] > 20:
            raise ZeroDivisionError

    def predict_one(self, x: dict[Any, float]) -> int:
        if x[1] > 20:
            raise ValueError("no such group")
        return super().predict_one(x)


class ManyLabels(LabelledAnew):
    """A label for nearly every point."""

    def predict_one(self, x: dict[Any, float]) -> int:
        return int(10 * x[0])


@pytest.fixture
def readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clusterers of this test are stored as if they were River's."""
    import operators.models.river.stored_estimator as stored

    monkeypatch.setattr(stored, "load_estimator", lambda held: __import__("pickle").loads(held))


@pytest.mark.usefixtures("readable")
def test_labels_that_are_numbered_anew_keep_their_ids() -> None:
    model = named(LabelledAnew)
    points, _ = around(GROUPS, 4000)
    model.learn_array(points[:1001])
    before = model.assign(points)[0]
    model.learn_array(points[1001:])
    assert model.reviews > 2
    assert model.assign(points)[0].tolist() == before.tolist()
    assert (model.take_retired(), model.next_id) == ([], 4)


@pytest.mark.usefixtures("readable")
def test_what_raises_is_counted_and_the_rest_is_learned_and_assigned(
    processing_errors: list[Any],
) -> None:
    errors = ProcessingErrors("clusters")
    model = named(Raises, errors=errors)
    points, which = around(GROUPS, 1280)
    model.learn_array(points)
    assert model.failures == (points[:, 0] > 20).sum() > 0
    ids, squares = model.assign(points)
    assert len({*zip(ids.tolist(), which.tolist(), strict=True)}) == 4
    assert np.isfinite(squares).all()
    assert errors.take_counts()["clusters.clusters_estimator"] == len(processing_errors) > 0
    processing_errors.clear()


@pytest.mark.usefixtures("readable")
def test_the_number_of_groups_is_bounded() -> None:
    model = named(ManyLabels)
    model.learn_array(np.random.default_rng(0).uniform(0, 30, (5000, 2)))
    assert 1 <= len(model.centres_by_id()) <= GROUPS_MAX
    assert (model.assign(np.array([[-50.0, 0.0], [90.0, 0.0]]))[0] >= 0).all()
