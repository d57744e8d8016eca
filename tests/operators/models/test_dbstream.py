"""DBSTREAM on arrays: micro-clusters equal to River's, stable ids, bounded memory."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from river import cluster

from operators.models import micro_clusters
from operators.models.dbstream import Dbstream
from operators.models.micro_clusters import MICRO_CLUSTERS_MAX
from tests.operators.models.test_minibatch_kmeans import (
    GROUPS,
    SIX,
    SIX_TWO_OF_THEM_SMALL,
    Table,
    around,
)


def learned(model: Dbstream, places: Table, blocks: int, seed: int = 0) -> list[int]:
    """Learn points around the places; returns the number of groups after each block."""
    numbers = []
    for n in range(blocks):
        model.learn_array(around(places, 256, seed + n)[0])
        numbers.append(len(model.centres_by_id()))
    return numbers


@pytest.mark.parametrize("half_life", [None, 120.0])
def test_micro_clusters_equal_rivers(half_life: float | None) -> None:
    points = around(GROUPS, 1024)[0]
    ours = Dbstream(2, 1.5, half_life, block_points=256, learned_every=1)
    theirs = cluster.DBSTREAM(
        clustering_threshold=1.5,
        fading_factor=0.0 if half_life is None else 1 / half_life,
        cleanup_interval=micro_clusters.PRUNE_EVERY_POINTS,
        intersection_factor=micro_clusters.SHARED_DENSITY_MIN,
    )
    ours.learn_array(points)
    for x, y in points.tolist():
        theirs.learn_one({"x": x, "y": y})  # type: ignore[no-untyped-call]
    expected = [*theirs.micro_clusters.values()]
    places = np.array([[one.center["x"], one.center["y"]] for one in expected])
    np.testing.assert_allclose(ours.micro_clusters.centres, places)
    np.testing.assert_allclose(ours.micro_clusters.weights, [one.weight for one in expected])
    number = {micro: slot for slot, micro in enumerate(theirs.micro_clusters)}
    shared = np.zeros((len(expected), len(expected)))
    for i, row in theirs.s.items():
        for j, value in row.items():
            shared[number[i], number[j]] = shared[number[j], number[i]] = value
    np.testing.assert_allclose(ours.micro_clusters.shared, shared)


def test_groups_of_any_shape_are_found() -> None:
    """Two long parallel strips, which k-means would cut in the middle."""
    rng = np.random.default_rng(0)
    upper = np.arange(20_000) % 2 == 0
    points = np.column_stack((rng.uniform(0, 20, 20_000), upper * 8 + rng.uniform(-2, 2, 20_000)))
    model = Dbstream(2, 2.5)
    model.learn_array(points)
    labels, squares = model.assign(points)
    assert len(model.centres_by_id()) == 2
    assert len({*zip(upper.tolist(), labels.tolist(), strict=True)}) == 2
    means = {c: points[labels == c].mean(axis=0) for c in model.centres_by_id()}
    expected = ((points - np.array([means[c] for c in labels.tolist()])) ** 2).sum(axis=1)
    np.testing.assert_allclose(squares.mean(), expected.mean(), rtol=0.1)


def test_the_number_of_groups_follows_the_stream_and_continued_groups_keep_their_ids() -> None:
    model = Dbstream(2, 2.5, half_life_points=2000.0)
    numbers = learned(model, GROUPS, 30)
    before = model.assign(GROUPS)[0]
    numbers += learned(model, SIX_TWO_OF_THEM_SMALL, 60, 30)
    both = model.assign(SIX)[0]
    assert both[:4].tolist() == before.tolist()
    assert len({*both.tolist()}) == 6
    numbers += learned(model, SIX[[1, 3, 5]], 90, 90)
    after = model.assign(SIX[[1, 3, 5]])[0]
    assert after.tolist() == both[[1, 3, 5]].tolist()
    assert (numbers[29], numbers[-1]) == (4, 3)
    ended = dict(model.take_retired())
    assert {*ended} == {*range(model.next_id)} - {*after.tolist()}
    assert {*ended.values()} <= {*range(model.next_id)}


@settings(max_examples=4, deadline=None)
@given(st.integers(0, 60), st.sampled_from([None, 500.0]))
def test_a_restored_model_continues_in_the_same_way(crash_at: int, half_life: float | None) -> None:
    def model() -> Dbstream:
        return Dbstream(2, 2.5, half_life, block_points=64, learned_every=4)

    def state(one: Dbstream) -> str:
        arrays = {
            **one.sample(),
            **one.scalars(),
            **{str(n): at for n, at in one.centres_by_id().items()},
        }
        return str({name: array.tolist() for name, array in arrays.items()})

    parts = [around(SIX[: 4 if n < 20 else 6], 100, n)[0] for n in range(60)]
    whole, restored = model(), model()
    for part in parts[:crash_at]:
        whole.rescale(np.array([1.001, 0.999]), np.array([0.01, 0.02]))
        whole.learn_array(part)
    restored.restore({**whole.sample(), **whole.scalars()})
    assert state(whole) == state(restored)
    for part in parts[crash_at:]:
        for one in (whole, restored):
            one.rescale(np.array([1.001, 0.999]), np.array([0.01, 0.02]))
            one.learn_array(part)
    assert state(whole) == state(restored)


def test_memory_is_bounded_and_the_lightest_micro_cluster_is_replaced() -> None:
    model = Dbstream(2, 0.1, learned_every=1)
    rng = np.random.default_rng(0)
    for _ in range(6):
        model.learn_array(rng.uniform(-100, 100, size=(256, 2)))
        model.learn_array(np.tile([[3.0, 4.0]], (256, 1)))
    assert len(model.micro_clusters.centres) == MICRO_CLUSTERS_MAX
    assert model.micro_clusters.shared.shape == (MICRO_CLUSTERS_MAX, MICRO_CLUSTERS_MAX)
    heaviest = model.micro_clusters.centres[model.micro_clusters.weights.argmax()]
    np.testing.assert_allclose(heaviest, [3.0, 4.0], atol=0.1)


def test_no_shopper_is_assigned_before_the_first_block() -> None:
    model = Dbstream(2, 2.0)
    model.learn_array(around(GROUPS, 255)[0])
    labels, squares = model.assign(GROUPS)
    assert labels.tolist() == [-1] * 4
    assert np.isnan(squares).all()
    with pytest.raises(ValueError, match="features must be finite numbers"):
        model.learn_array(np.array([[np.nan, 1.0]]))
