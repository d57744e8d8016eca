"""Shoppers to clusters: features are scaled as the stream teaches, then assigned to centres.

One object a flow; it changes its own state in place, because a copy a batch would cost more than
the learning. The names of the arrays in `arrays` are stored; everything else is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.models import cluster_quality
from operators.models.base import check
from operators.models.dbstream import Dbstream
from operators.models.drift import DriftAlarm
from operators.models.minibatch_kmeans import BlockKMeans
from operators.models.online_pca import OnlinePca, Plane
from operators.models.scaling import OnlineScaler
from operators.segments.clusters import naming
from operators.shoppers.features import typical
from operators.tables.table import Kept, Table, with_prefix, without_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.models.base import Clusterer
    from operators.models.cluster_count import Tried
    from operators.tables.table import Arrays

RECENT_POINTS = 1024
MAP_POINTS = 512


@dataclass(frozen=True, slots=True)
class Quality:
    """How the clusters do now.

    inertia: mean squared distance (standard scores) of a point to its centre before it was learned,
    over about the last 32 blocks. silhouette (1 is best), davies_bouldin (0 is best): of the last
    1,024 points. All nan before the start.
    """

    inertia: float
    silhouette: float
    davies_bouldin: float


@dataclass(frozen=True, slots=True)
class Map:
    """Recent points float64[n, 2] in the plane in which points differ most, the cluster of each, the
    places of the living centres, by id."""

    plane: Plane
    points: NDArray[np.float64]
    labels: NDArray[np.intp]
    centres: dict[int, NDArray[np.float64]]


class Clusters(Kept):
    """Online scaling and clusters of rows of features, float64[n, F], all finite.

    n_clusters: their number, or the least and the most. With a `radius` (standard scores) clusters are
    what is dense, and their number comes of that.

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
        n_clusters: int | tuple[int, int],
        n_features: int,
        half_life_points: float | None = None,
        block_points: int = 256,
        seed: int = 0,
        radius: float | None = None,
    ) -> None:
        self._scaler = OnlineScaler(n_features, half_life_points)
        self._model: Clusterer
        if radius is None:
            self._model = BlockKMeans(
                n_clusters, n_features, half_life_points, block_points, seed=seed
            )
        else:
            self._model = Dbstream(n_features, radius, half_life_points, block_points, seed=seed)
        self._recent = np.empty((0, n_features))
        self._pca = OnlinePca(n_features, half_life_points)
        self.told_at = 0
        """How many events there had been when the map was drawn last, 0 before the first time."""
        self.alarm = DriftAlarm()
        """Whether points are no longer as near to their centres as they were."""
        self.ended: dict[int, int] = {}
        """Clusters that are no more, whose shoppers have yet to leave: which one goes on for each, or
        NOBODY."""
        self._named = 0

    @property
    def started(self) -> bool:
        """Whether the first block was learned, so that shoppers are assigned."""
        return self._model.started

    @property
    def algorithm(self) -> str:
        """What finds the clusters."""
        return self._model.algorithm

    @property
    def next_id(self) -> int:
        """Above the numbers of all clusters there ever were."""
        return self._model.next_id

    @property
    def numbers(self) -> list[int]:
        """The clusters there are now."""
        return [*self._model.places()]

    @property
    def tried(self) -> Sequence[Tried]:
        """What other numbers of clusters would be like, where the number may be chosen."""
        return self._model.tried

    def learn(self, features: NDArray[np.float64]) -> None:
        """Learn rows [n, F] in their order. ValueError for another F, or a value not finite."""
        check(features, self._model.n_features)
        mean, std = self._scaler.mean.copy(), self._scaler.std
        self._scaler.learn_array(features)
        # What the model remembers moves with the scale, so that old and new points stay comparable.
        self._model.rescale(*self._scaler.change_from(mean, std))
        self._model.learn(self._scaler.transform_array(features))
        self._pca.learn(features)
        drifts = self.alarm.drifts
        self.alarm.hear(np.log1p(self._model.take_errors()).tolist())
        if self.alarm.drifts > drifts:
            self._model.look_again()
        self._end(self._model.take_ended())
        self._recent = np.concatenate([self._recent, features[-RECENT_POINTS:]])[-RECENT_POINTS:]

    def assign(
        self, features: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows [n, F] -> (cluster int64[n], distance float32[n] to its centre in standard scores).

        NOBODY and nan before the start. Learns nothing.
        """
        labels, squares = self._model.assign(self._scaler.transform_array(features))
        return labels, np.sqrt(squares).astype(np.float32)

    def quality(self) -> Quality:
        """Computed when asked: about 20 ms."""
        points = self._scaler.transform_array(self._recent)
        labels = self._model.assign(points)[0]
        return Quality(
            self._model.inertia,
            cluster_quality.silhouette(points, labels),
            cluster_quality.davies_bouldin(points, labels),
        )

    def describe(
        self, feature_names: Sequence[str], before: Mapping[int, str] | None = None
    ) -> dict[int, str]:
        """A short, distinct name for each living cluster: how its centre differs from everybody.

        Names from `before` stay but for after a review of all clusters, when they must be true still.
        """
        centres, before = self._model.places(), before or {}
        if self._named == self._model.reviews and centres.keys() <= before.keys():
            return {number: before[number] for number in centres}
        self._named = self._model.reviews
        spoken = naming.says(typical(self._scaler.mean, feature_names), feature_names)
        own = self._typical(feature_names)
        return naming.names(centres, feature_names, before, own, spoken)

    def lifts(self, feature_names: Sequence[str]) -> dict[int, list[tuple[str, float]]]:
        """What sets each living cluster apart most: feature, its typical value (that of the mean of the
        logarithms, where features are those) as a multiple of everybody's."""
        of_all, own = typical(self._scaler.mean, feature_names), self._typical(feature_names)
        spoken = naming.says(of_all, feature_names)
        places = {number: np.where(spoken, at, 0.0) for number, at in self._model.places().items()}
        return {
            number: naming.lifts(own[number], of_all, scores, feature_names)
            for number, scores in places.items()
        }

    def _typical(self, feature_names: Sequence[str]) -> dict[int, NDArray[np.float64]]:
        """What the shoppers of each living cluster are like."""
        std, mean = self._scaler.std, self._scaler.mean
        centres = self._model.places().items()
        return {number: typical(at * std + mean, feature_names) for number, at in centres}

    def map(self) -> Map:
        """Where recent points and the centres are, seen from where they differ most."""
        points = self._scaler.transform_array(self._recent[-MAP_POINTS:])
        plane = self._pca.plane()
        centres = {number: plane.axes @ at for number, at in self._model.places().items()}
        return Map(plane, points @ plane.axes.T, self._model.assign(points)[0], centres)

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
            "told_at": np.array([self.told_at, self._named]),
            "algorithm": np.array([self.algorithm]),
            "next_id": np.array([self._model.next_id]),
            "ended": np.array([*self.ended.items()], np.int64).reshape(-1, 2),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave; of another algorithm, all but its clusters."""
        self._scaler.restore(without_prefix("scaler.", arrays))
        if "algorithm" not in arrays or str(arrays["algorithm"][0]) == self.algorithm:
            self._model.restore(without_prefix("model.", arrays))
        else:  # all begins anew, under other ids
            self._model.next_id = int(arrays["next_id"][0])
        if "pca.mean" in arrays:  # not in the first releases
            self._pca.restore(without_prefix("pca.", arrays))
            self.alarm.restore(without_prefix("alarm.", arrays))
            self.told_at, *named = arrays["told_at"].tolist()
            self._named = named[0] if named else 0
        self.ended = dict(arrays.get("ended", np.empty((0, 2), np.int64)).tolist())
        self._recent = arrays["recent"].copy()

    def _end(self, ended: Sequence[tuple[int, int]]) -> None:
        """Note which clusters are no more; who waited to go to one of them goes on with it."""
        for number, heir in ended:
            self.ended = {one: heir if to == number else to for one, to in self.ended.items()}
            self.ended[number] = heir
