"""How good a clustering is: scikit-learn's numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import davies_bouldin_score, silhouette_score

from operators.models.cluster_quality import davies_bouldin, silhouette


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 60), st.integers(2, 6))
def test_silhouette_and_davies_bouldin_equal_scikit_learns(seed: int, n: int, k: int) -> None:
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n, 3)).round(1)
    labels = np.append(rng.integers(0, k, n - 2), [0, 1]) * 3
    if len(set(labels)) < n:  # theirs refuses a cluster for every point
        assert silhouette(points, labels) == pytest.approx(
            silhouette_score(points, labels), abs=1e-6
        )
        assert davies_bouldin(points, labels) == pytest.approx(
            davies_bouldin_score(points, labels), abs=1e-6
        )


def test_one_cluster_has_no_quality() -> None:
    points, labels = np.arange(6.0).reshape(3, 2), np.zeros(3, np.int64)
    assert np.isnan([silhouette(points, labels), davies_bouldin(points, labels)]).all()
