"""Shoppers to clusters: features are scaled as the stream teaches, then assigned to centres.

One object a flow; it changes its own state in place, because a copy a batch would cost more than
the learning. The names of the arrays in `arrays` are stored; everything else is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from operators import cluster_names, cluster_quality
from operators.features import typical
from operators.learners.block_kmeans import BlockKMeans, check
from operators.learners.drift import DriftAlarm
from operators.learners.kmeans import squared_distances
from operators.learners.online_pca import OnlinePca, Plane
from operators.learners.scaling import OnlineScaler
from operators.learners.table import Kept, Table, with_prefix, without_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.learners.table import Arrays

RECENT_POINTS = 1024
MAP_POINTS = 512


@dataclass(frozen=True, slots=True)
class Quality:
    """How the clusters do now.

    inertia: mean squared distance (standard scores) of a point to its centre before it was learned,
    over about the last 32 blocks. silhouette (1 is best), davies_bouldin (0 is best): of the last
    1,024 points. All nan before the start. counts: points each cluster remembers, float64[k].
    """

    inertia: float
    silhouette: float
    davies_bouldin: float
    counts: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Map:
    """Recent points float64[n, 2] in the plane in which points differ most, the cluster of each, the
    places of the living centres, by id."""

    plane: Plane
    points: NDArray[np.float64]
    labels: NDArray[np.intp]
    centres: dict[int, NDArray[np.float64]]


class Clusters(Kept):
    """Online scaling and mini-batch k-means for rows of features, float64[n, F], all finite.

    >>> clusters = Clusters(n_clusters=2, n_features=1)
    >>> clusters.assign(np.array([[5.0]]))[0].tolist()
    [-1]
    >>> clusters.learn(np.array([[0.0], [100.0]] * 128))
    >>> cluster, distance = clusters.assign(np.array([[0.0], [100.0]]))
    >>> sorted(cluster.tolist()), distance.tolist()
    ([0, 1], [0.0, 0.0])
    """

    def __init__(
        self,
        n_clusters: int,
        n_features: int,
        half_life_points: float | None = None,
        block_points: int = 256,
        seed: int = 0,
    ) -> None:
        self._scaler = OnlineScaler(n_features, half_life_points)
        self._model = BlockKMeans(n_clusters, n_features, half_life_points, block_points, seed=seed)
        self._recent = np.empty((0, n_features))
        self._pca = OnlinePca(n_features, half_life_points)
        self.told_at = 0
        """How many events there had been when the map was drawn last, 0 before the first time."""
        self.alarm = DriftAlarm()
        """Whether points are no longer as near to their centres as they were."""

    @property
    def started(self) -> bool:
        """Whether the first block was learned, so that shoppers are assigned."""
        return self._model.started

    @property
    def reseeded(self) -> NDArray[np.int64]:
        """How often each id was given to other shoppers, int64[k]: as long as this stays, the id
        means the same group, however far its centre moved."""
        return self._model.generation.copy()

    def learn(self, features: NDArray[np.float64]) -> None:
        """Learn rows [n, F] in their order. ValueError for another F, or a value not finite."""
        check(features, self._model.n_features)
        mean, std = self._scaler.mean.copy(), self._scaler.std
        self._scaler.learn_array(features)
        # What the model remembers moves with the scale, so that old and new points stay comparable.
        self._model.rescale(*self._scaler.change_from(mean, std))
        self._model.learn(self._scaler.transform_array(features))
        self._pca.learn(features)
        self.alarm.hear(np.log1p(self._model.take_errors()).tolist())
        self._recent = np.concatenate([self._recent, features[-RECENT_POINTS:]])[-RECENT_POINTS:]

    def assign(
        self, features: NDArray[np.float64]
    ) -> tuple[NDArray[np.int16], NDArray[np.float32]]:
        """Rows [n, F] -> (cluster int16[n], distance float32[n] to its centre in standard scores).

        NOBODY and nan before the first block is full. Learns nothing.
        """
        points = self._scaler.transform_array(features)
        labels = self._model.predict(points)
        if not self.started:
            return labels.astype(np.int16), np.full(len(points), np.nan, np.float32)
        distances = np.sqrt(squared_distances(points, self._model.centres[labels]))
        return labels.astype(np.int16), distances.astype(np.float32)

    def quality(self) -> Quality:
        """Computed when asked: about 20 ms."""
        points = self._scaler.transform_array(self._recent)
        labels = self._model.predict(points)
        return Quality(
            self._model.inertia,
            cluster_quality.silhouette(points, labels),
            cluster_quality.davies_bouldin(points, labels),
            self._model.counts.copy(),
        )

    def describe(self, feature_names: Sequence[str]) -> dict[int, str]:
        """A short, distinct name for each living cluster: how its centre differs from everybody."""
        centres = {int(j): self._model.centres[j] for j in self._model.living}
        return cluster_names.names(centres, feature_names)

    def lifts(self, feature_names: Sequence[str]) -> dict[int, list[tuple[str, float]]]:
        """What sets each living cluster apart most: feature, its typical value (that of the mean of the
        logarithms, where features are those) as a multiple of everybody's."""
        scaler, found = self._scaler, {}
        of_all = typical(scaler.mean, feature_names)
        for j in self._model.living.tolist():
            own = typical(self._model.centres[j] * scaler.std + scaler.mean, feature_names)
            found[j] = cluster_names.lifts(own, of_all, self._model.centres[j], feature_names)
        return found

    def map(self) -> Map:
        """Where recent points and the centres are, seen from where they differ most."""
        points = self._scaler.transform_array(self._recent[-MAP_POINTS:])
        plane = self._pca.plane()
        centres = {int(j): plane.axes @ self._model.centres[j] for j in self._model.living}
        return Map(plane, points @ plane.axes.T, self._model.predict(points), centres)

    def tables(self) -> Sequence[Table]:
        """Points that are remembered: they move with the scale, so all of them change."""
        sample = {f"model.{name}": array for name, array in self._model.sample().items()}
        return [Table(sample, None), Table({"recent": self._recent}, None)]

    def small(self) -> Arrays:
        """Scale and centres."""
        return {
            **with_prefix("scaler.", self._scaler.arrays()),
            **with_prefix("model.", self._model.small()),
            **with_prefix("pca.", self._pca.small()),
            **with_prefix("alarm.", self.alarm.small()),
            "told_at": np.array([self.told_at]),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of clusters made with the same arguments."""
        self._scaler.restore(without_prefix("scaler.", arrays))
        self._model.restore(without_prefix("model.", arrays))
        if "pca.mean" in arrays:  # not in the first releases
            self._pca.restore(without_prefix("pca.", arrays))
            self.alarm.restore(without_prefix("alarm.", arrays))
            self.told_at = int(arrays["told_at"][0])
        self._recent = arrays["recent"].copy()
