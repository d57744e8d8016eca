"""Batch k-means: what scikit-learn computes from the same start."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from operators.models.kmeans import inertia, kmeans_plus_plus, lloyd, nearest


@pytest.mark.parametrize("seed", range(4))
def test_centres_labels_and_inertia_are_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(300, 3)) + 4 * rng.integers(0, 3, size=(300, 1))
    start = kmeans_plus_plus(points, 5, rng)
    centres = lloyd(points, start, 300)
    theirs = KMeans(5, init=start, n_init=1, max_iter=300, tol=0, algorithm="lloyd").fit(points)
    np.testing.assert_allclose(centres, theirs.cluster_centers_)
    assert nearest(points, centres).tolist() == theirs.labels_.tolist()
    assert inertia(points, centres) == pytest.approx(theirs.inertia_)


def test_a_centre_without_points_does_not_move() -> None:
    points, start = np.array([[0.0], [1.0]]), np.array([[0.5], [9.0]])
    assert lloyd(points, start, 10).tolist() == [[0.5], [9.0]]


def test_starts_are_points_and_repeat_only_where_there_are_too_few() -> None:
    points = np.array([[0.0], [0.0], [5.0]])
    start = kmeans_plus_plus(points, 3, np.random.default_rng(0))
    assert {*start.ravel().tolist()} == {0.0, 5.0}
