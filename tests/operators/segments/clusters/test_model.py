"""Clusters as the flow uses them: learn, assign, quality and names."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import davies_bouldin_score, silhouette_score

from operators.segments.clusters.model import MAP_POINTS, ClusterModel
from operators.segments.clusters.naming import PHRASES
from operators.shoppers.features import FEATURES, feature_matrix, feature_row, feature_rows
from state.shopper import Shopper
from state.times import DAY_MS, MINUTE_MS

Table = NDArray[np.float64]

UNITS = np.array([1e6, 1e-3, 1.0])


def shop(n: int, seed: int = 0) -> tuple[Table, NDArray[np.intp]]:
    """Three kinds of shoppers in features of very different units, and the kind of each."""
    rng = np.random.default_rng(seed)
    kinds = np.arange(n) % 3
    places = np.array([[0.0, 0.0, 5.0], [9.0, 0.0, 5.0], [0.0, 9.0, 5.0]])
    return (places[kinds] + rng.normal(size=(n, 3)) * [1, 1, 0]) * UNITS, kinds


def test_no_shopper_is_assigned_before_the_first_block() -> None:
    clusters = ClusterModel(3, 3)
    rows, _ = shop(300)
    clusters.learn(rows[:255])
    cluster, distance = clusters.assign(rows[:2])
    assert not clusters.started
    assert cluster.tolist() == [-1, -1]
    assert np.isnan(distance).all()
    assert (str(cluster.dtype), str(distance.dtype)) == ("int64", "float32")
    clusters.learn(rows[255:])
    assert clusters.started


def test_kinds_of_shoppers_are_separated_whatever_the_units() -> None:
    clusters = ClusterModel(3, 3)
    rows, kinds = shop(1000)
    for part in np.array_split(rows, 7):
        clusters.learn(part)
    cluster, distance = clusters.assign(rows)
    assert len({*zip(kinds.tolist(), cluster.tolist(), strict=True)}) == 3
    own = np.array([rows[cluster == c].mean(axis=0) for c in range(3)])
    scores = (rows - own[cluster]) / np.where(rows.std(axis=0) > 1e-9, rows.std(axis=0), np.inf)
    np.testing.assert_allclose(distance, np.linalg.norm(scores, axis=1), atol=0.05)


def test_early_points_count_in_the_later_scale() -> None:
    """The first rows look alike only until the scale of all is known."""
    rng = np.random.default_rng(0)
    near, far = rng.normal(size=(300, 1)), 1000 + rng.normal(size=(300, 1))
    clusters = ClusterModel(2, 1)
    clusters.learn(near)
    clusters.learn(far)
    clusters.learn(rng.permutation(np.concatenate([near, far])))
    cluster, distance = clusters.assign(np.concatenate([near, far]))
    assert len(set(cluster[:300])) == len(set(cluster[300:])) == 1
    assert cluster[0] != cluster[-1]
    assert distance.max() < 0.02


def test_assigning_learns_nothing() -> None:
    clusters = ClusterModel(3, 3)
    rows, _ = shop(600)
    clusters.learn(rows[:500])
    before = str(clusters.arrays())
    clusters.assign(rows[500:])
    clusters.quality()
    assert str(clusters.arrays()) == before


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 8), st.sampled_from([None, 300.0]), st.sampled_from([None, 1.5]))
def test_restored_clusters_learn_on_identically(
    crash_after: int, half_life: float | None, radius: float | None
) -> None:
    parts = np.array_split(shop(1800)[0], 9)
    clusters, restored = (ClusterModel((2, 4), 3, half_life, radius=radius) for _ in range(2))
    for part in parts[:crash_after]:
        clusters.learn(part)
    restored.restore(clusters.arrays())
    for part in parts[crash_after:]:
        clusters.learn(part)
        restored.learn(part)
    ours, theirs = clusters.arrays(), restored.arrays()
    assert {n: a.tobytes() for n, a in ours.items()} == {n: a.tobytes() for n, a in theirs.items()}


def test_a_row_that_is_not_finite_is_an_error_and_nothing_is_learned() -> None:
    clusters = ClusterModel(3, 3)
    before = str(clusters.arrays())
    with pytest.raises(ValueError, match="features must be finite numbers"):
        clusters.learn(np.array([[1.0, 2.0, 3.0], [1.0, np.nan, 3.0]]))
    with pytest.raises(ValueError, match="expected 3 features"):
        clusters.learn(np.ones((4, 1)))
    assert str(clusters.arrays()) == before


def test_a_batch_without_rows_changes_nothing() -> None:
    clusters = ClusterModel(3, 3)
    clusters.learn(np.empty((0, 3)))
    assert [a.tolist() for a in clusters.assign(np.empty((0, 3)))] == [[], []]


# -- quality


def test_quality_is_of_recent_points_and_nan_before_the_first_block() -> None:
    clusters = ClusterModel(3, 3)
    rows, kinds = shop(2048)
    clusters.learn(rows[:10])
    first = clusters.quality()
    assert np.isnan([first.inertia, first.silhouette, first.davies_bouldin]).all()
    clusters.learn(rows[10:])
    quality = clusters.quality()
    scores = rows[-1024:, :2] / rows[:, :2].std(axis=0)
    assert quality.silhouette == pytest.approx(silhouette_score(scores, kinds[-1024:]))
    assert quality.davies_bouldin == pytest.approx(davies_bouldin_score(scores, kinds[-1024:]))
    centres = np.array([scores[kinds[-1024:] == kind].mean(axis=0) for kind in range(3)])
    inertia = ((scores - centres[kinds[-1024:]]) ** 2).sum(axis=1).mean()
    assert quality.inertia == pytest.approx(inertia, rel=0.1)


# -- names


def test_clusters_have_names_and_keep_them() -> None:
    clusters = ClusterModel(3, 3)
    features = ["revenue", "visits", "depth"]
    assert clusters.name_clusters(features) == {}
    clusters.learn(shop(1024)[0])
    described = clusters.name_clusters(features)
    assert {frozenset(name.lower().split(", ")) for name in described.values()} == {
        frozenset({"big spenders", "rare visitors"}),
        frozenset({"low spend", "rare visitors"}),
        frozenset({"low spend", "frequent visitors"}),
    }


# -- the map and the alarm


def test_projected_centres_lie_among_their_points() -> None:
    clusters = ClusterModel(3, 3)
    clusters.learn(shop(1024)[0])
    seen = clusters.projection()
    assert len(seen.points) == len(seen.labels) == MAP_POINTS
    for cluster, place in seen.centres.items():
        own = seen.points[seen.labels == cluster].mean(axis=0)
        gaps = {other: np.linalg.norm(own - at) for other, at in seen.centres.items()}
        assert min(gaps, key=lambda other: gaps[other]) == cluster
        assert place == pytest.approx(seen.centres[cluster])


def test_drift_is_detected_when_shoppers_change_and_only_then() -> None:
    clusters, rng = ClusterModel(3, 3), np.random.default_rng(8)
    for _ in range(60):
        clusters.learn(rng.normal(size=(256, 3)))
    assert clusters.drift_detector.drifts == 0
    arrays = clusters.arrays()
    for _ in range(20):
        clusters.learn(rng.normal(size=(256, 3)) * 6 + rng.choice([-9, 9], (256, 3)))
    assert clusters.drift_detector.drifts >= 1
    assert (clusters.drift_detector.take_deltas(), clusters.drift_detector.take_deltas()) == (
        clusters.drift_detector.drifts,
        0,
    )

    restored, again = ClusterModel(3, 3), np.random.default_rng(8)
    again.normal(size=(60, 256, 3))
    restored.restore(arrays)
    for _ in range(20):
        restored.learn(again.normal(size=(256, 3)) * 6 + again.choice([-9, 9], (256, 3)))
    assert (
        restored.drift_detector.drifts
        == restored.drift_detector.take_deltas()
        == clusters.drift_detector.drifts
    )


def test_a_log_of_orders_alone_has_no_cluster_named_after_browsing() -> None:
    """Names and descriptions use only features that the log has."""
    rng = np.random.default_rng(5)
    clusters = ClusterModel(3, len(FEATURES), seed=1)
    shoppers = [
        Shopper(
            True,
            0,
            int(day * DAY_MS),
            sessions=int(orders),
            session_ms=int(events * MINUTE_MS),
            session_events=int(events),
            purchases=int(orders),
            revenue_micros=int(orders * 20e6),
            last_purchase_ms=int(day * DAY_MS),
        )
        for day, orders, events in zip(
            rng.integers(1, 200, 900),
            rng.choice([1, 2, 20], 900),
            rng.choice([1, 40], 900),
            strict=True,
        )
    ]
    matrix = feature_matrix(feature_rows(feature_row(one, 0.0, None) for one in shoppers))
    for start in range(0, 900, 300):
        clusters.learn(matrix[start : start + 300])
    assert clusters.started
    told = " ".join(clusters.name_clusters(FEATURES).values()).lower()
    about = {name for told in clusters.lifts(FEATURES).values() for name, _ in told}
    of_views = ("visit_length_min", "visit_depth", "views", "price_level")
    assert not [
        name for name in of_views if name in about or any(w in told for w in PHRASES[name][:2])
    ]
    assert about
