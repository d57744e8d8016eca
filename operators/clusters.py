"""Shoppers to clusters: features are scaled as the stream teaches, then assigned to centres.

One object a flow; it changes its own state in place, because a copy a batch would cost more than
the learning. The names of the arrays in `arrays` are stored; everything else is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from operators import cluster_quality
from operators.learners.block_kmeans import BlockKMeans, check
from operators.learners.kmeans import squared_distances
from operators.learners.scaling import OnlineScaler
from operators.learners.table import Kept, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.learners.table import Arrays

RECENT_POINTS = 1024


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
        return cluster_quality.names(centres, feature_names)

    def tables(self) -> Sequence[Table]:
        """Points that are remembered: they move with the scale, so all of them change."""
        sample = {f"model.{name}": array for name, array in self._model.sample().items()}
        return [Table(sample, None), Table({"recent": self._recent}, None)]

    def small(self) -> Arrays:
        """Scale and centres."""
        return {
            **{f"scaler.{name}": array for name, array in self._scaler.arrays().items()},
            **{f"model.{name}": array for name, array in self._model.small().items()},
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of clusters made with the same arguments."""
        self._scaler.restore(_part(arrays, "scaler."))
        self._model.restore(_part(arrays, "model."))
        self._recent = arrays["recent"].copy()


def _part(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {
        name.removeprefix(prefix): array
        for name, array in arrays.items()
        if name.startswith(prefix)
    }
