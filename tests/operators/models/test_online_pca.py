"""Incremental principal components: those of batch PCA, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.decomposition import PCA

from operators.models.online_pca import OnlinePca


def points(n: int) -> np.ndarray:
    """Three groups of points, with columns of different spread."""
    rng = np.random.default_rng(9)
    places = np.array([[0.0, 0.0, 5.0], [9.0, 0.0, 5.0], [0.0, 9.0, 5.0]])
    return places[np.arange(n) % 3] + rng.normal(size=(n, 3)) * [1.0, 1.2, 2.0]


@pytest.mark.parametrize("size", [1024, 100, 1])
def test_axes_and_shares_equal_scikit_learns_pca_on_standard_scores(size: int) -> None:
    rows = points(1024)
    batch = PCA(2).fit((rows - rows.mean(axis=0)) / rows.std(axis=0))
    pca = OnlinePca(3)
    for start in range(0, len(rows), size):
        pca.learn(rows[start : start + size])
    plane = pca.plane()
    assert plane.shares == pytest.approx(batch.explained_variance_ratio_)
    assert np.abs(plane.axes) == pytest.approx(np.abs(batch.components_))
    # A map is never mirrored: the largest component of an axis is positive.
    assert (plane.axes[[0, 1], np.abs(plane.axes).argmax(axis=1)] > 0).all()


def test_with_a_half_life_the_plane_follows_recent_points() -> None:
    pca = OnlinePca(2, half_life_points=50.0)
    rng = np.random.default_rng(1)
    first = rng.normal(size=(500, 1)) * [1.0, 1.0] + rng.normal(size=(500, 2)) * 0.1
    second = rng.normal(size=(500, 1)) * [1.0, -1.0] + rng.normal(size=(500, 2)) * 0.1
    signs = []
    for rows in (first, second):
        for start in range(0, 500, 50):
            pca.learn(rows[start : start + 50])
        signs.append(float(np.prod(np.sign(pca.plane().axes[0]))))
    assert signs == [1.0, -1.0]


def test_a_restored_model_continues_in_the_same_way() -> None:
    rows = points(300)
    one, other = OnlinePca(3, 80.0), OnlinePca(3, 80.0)
    one.learn(rows[:200])
    other.restore(one.arrays())
    for pca in (one, other):
        pca.learn(rows[200:])
    assert one.plane().axes.tolist() == other.plane().axes.tolist()
