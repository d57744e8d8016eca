"""How many clusters: the best silhouette, the elbow where several are nearly as good, with patience."""

from __future__ import annotations

import math

import pytest

from operators.models.cluster_count import CountScore, Patience, find_elbow, select_count


def scores(*silhouettes: float) -> list[CountScore]:
    """Scores of 2, 3, ... clusters, with an elbow at 4."""
    inertias = (100.0, 60.0, 20.0, 18.0, 16.0)
    return [
        CountScore(k, silhouette, inertia)
        for k, (silhouette, inertia) in enumerate(zip(silhouettes, inertias, strict=False), 2)
    ]


def test_the_elbow_is_where_more_clusters_reduce_the_inertia_little() -> None:
    assert find_elbow(scores(0, 0, 0, 0, 0)) == 4


@pytest.mark.parametrize(
    ("silhouettes", "k"),
    [
        ((0.9, 0.5, 0.5, 0.5, 0.5), 2),
        ((0.51, 0.5, 0.5, 0.5, 0.51), 4),
        ((0.51, 0.5, 0.4, 0.5, 0.4), 3),
        ((math.nan, math.nan, math.nan, 0.1, math.nan), 5),
    ],
    ids=["clearly best", "all nearly equal", "nearest to the elbow", "others have no silhouette"],
)
def test_the_best_silhouette_is_selected_or_the_elbow(
    silhouettes: tuple[float, ...], k: int
) -> None:
    assert select_count(scores(*silhouettes)).k == k


def test_a_count_must_be_proposed_three_times_in_a_row() -> None:
    patience = Patience()
    assert [patience.confirm(k) for k in (5, 5, 6, 6, None, 6, 6, 6)] == [False] * 7 + [True]


def test_restored_patience_continues_in_the_same_way() -> None:
    one, other = Patience(), Patience()
    one.confirm(5)
    one.confirm(5)
    other.restore(one.arrays())
    assert other.proposed == 5
    assert other.confirm(5)
    old_release = Patience()
    old_release.restore({})
    assert not old_release.confirm(5)
