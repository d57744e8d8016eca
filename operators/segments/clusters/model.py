"""Shoppers to clusters: features are scaled as the stream teaches, then assigned to centres.

One object a flow; it changes its own state in place, because a copy a batch would cost more than
the learning. The names of the arrays in `arrays` are stored; everything else is free.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.models import cluster_quality
from operators.models.base import validate
from operators.models.dbstream import Dbstream
from operators.models.drift import DriftDetector
from operators.models.minibatch_kmeans import MiniBatchKMeans
from operators.models.online_pca import OnlinePca, Plane
from operators.models.scaling import OnlineScaler
from operators.segments.clusters import naming
from operators.shoppers.features import to_raw_units
from operators.tables.table import Table, TableState, add_prefix, strip_prefix

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.models.base import Clusterer
    from operators.models.cluster_count import CountScore
    from operators.tables.table import Arrays

RECENT_POINTS = 1024
MAP_POINTS = 512


@dataclass(frozen=True, slots=True)
class ClusterQuality:
    """How the clusters do now.

    inertia: mean squared distance (standard scores) of a point to its centre before it was learned,
    over about the last 32 blocks. silhouette (1 is best), davies_bouldin (0 is best): of the last
    1,024 points. All nan before the start.
    """

    inertia: float
    silhouette: float
    davies_bouldin: float


@dataclass(frozen=True, slots=True)
class Projection:
    """Recent points float64[n, 2] in the plane in which points differ most, the cluster of each, the
    places of the living centres, by id."""

    plane: Plane
    points: NDArray[np.float64]
    labels: NDArray[np.intp]
    centres: dict[int, NDArray[np.float64]]


class ClusterModel(TableState):
    """Online scaling and clusters of rows of features, float64[n, F], all finite.

    n_clusters: their number, or the least and the most. With a `radius` (standard scores) clusters are
    what is dense, and their number comes of that.

    >>> clusters = ClusterModel(n_clusters=2, n_features=1)
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
            self._model = MiniBatchKMeans(
                n_clusters, n_features, half_life_points, block_points, seed=seed
            )
        else:
            self._model = Dbstream(n_features, radius, half_life_points, block_points, seed=seed)
        self._recent = np.empty((0, n_features))
        self._pca = OnlinePca(n_features, half_life_points)
        self.last_published_events = 0
        """How many events there had been when the map was drawn last, 0 before the first time."""
        self.drift_detector = DriftDetector()
        """Whether points are no longer as near to their centres as they were."""
        self.retired: dict[int, int] = {}
        """Clusters that are no more, whose shoppers have yet to leave: which one goes on for each, or
        NO_ROW."""
        self._named_review = 0

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
        return [*self._model.centres_by_id()]

    @property
    def tried(self) -> Sequence[CountScore]:
        """What other numbers of clusters would be like, where the number may be chosen."""
        return self._model.count_scores

    def learn(self, features: NDArray[np.float64]) -> None:
        """Learn rows [n, F] in their order. ValueError for another F, or a value not finite."""
        validate(features, self._model.n_features)
        mean, std = self._scaler.mean.copy(), self._scaler.std
        self._scaler.learn_array(features)
        # What the model remembers moves with the scale, so that old and new points stay comparable.
        self._model.rescale(*self._scaler.rescaling_from(mean, std))
        self._model.learn(self._scaler.transform_array(features))
        self._pca.learn(features)
        drifts = self.drift_detector.drifts
        self.drift_detector.update(np.log1p(self._model.take_errors()).tolist())
        if self.drift_detector.drifts > drifts:
            self._model.request_review()
        self._retire(self._model.take_retired())
        self._recent = np.concatenate([self._recent, features[-RECENT_POINTS:]])[-RECENT_POINTS:]

    def assign(
        self, features: NDArray[np.float64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Rows [n, F] -> (cluster int64[n], distance float32[n] to its centre in standard scores).

        NO_ROW and nan before the start. Learns nothing.
        """
        labels, squares = self._model.assign(self._scaler.transform_array(features))
        return labels, np.sqrt(squares).astype(np.float32)

    def quality(self) -> ClusterQuality:
        """Computed when asked: about 20 ms."""
        points = self._scaler.transform_array(self._recent)
        labels = self._model.assign(points)[0]
        return ClusterQuality(
            self._model.inertia,
            cluster_quality.silhouette(points, labels),
            cluster_quality.davies_bouldin(points, labels),
        )

    def name_clusters(
        self, feature_names: Sequence[str], previous: Mapping[int, str] | None = None
    ) -> dict[int, str]:
        """A short, distinct name for each living cluster: how its centre differs from everybody.

        Names from `previous` stay but for after a review of all clusters, when they must be true still.
        """
        centres, previous = self._model.centres_by_id(), previous or {}
        if self._named_review == self._model.reviews and centres.keys() <= previous.keys():
            return {number: previous[number] for number in centres}
        self._named_review = self._model.reviews
        informative = naming.informative_features(
            to_raw_units(self._scaler.mean, feature_names), feature_names
        )
        own = self._typical(feature_names)
        return naming.name_clusters(centres, feature_names, previous, own, informative)

    def lifts(self, feature_names: Sequence[str]) -> dict[int, list[tuple[str, float]]]:
        """What sets each living cluster apart most: feature, its typical value (that of the mean of the
        logarithms, where features are those) as a multiple of everybody's."""
        overall, own = to_raw_units(self._scaler.mean, feature_names), self._typical(feature_names)
        informative = naming.informative_features(overall, feature_names)
        places = {
            number: np.where(informative, at, 0.0)
            for number, at in self._model.centres_by_id().items()
        }
        return {
            number: naming.feature_lifts(own[number], overall, scores, feature_names)
            for number, scores in places.items()
        }

    def _typical(self, feature_names: Sequence[str]) -> dict[int, NDArray[np.float64]]:
        """What the shoppers of each living cluster are like."""
        std, mean = self._scaler.std, self._scaler.mean
        centres = self._model.centres_by_id().items()
        return {number: to_raw_units(at * std + mean, feature_names) for number, at in centres}

    def projection(self) -> Projection:
        """Where recent points and the centres are, seen from where they differ most."""
        points = self._scaler.transform_array(self._recent[-MAP_POINTS:])
        plane = self._pca.plane()
        centres = {number: plane.axes @ at for number, at in self._model.centres_by_id().items()}
        return Projection(plane, points @ plane.axes.T, self._model.assign(points)[0], centres)

    def tables(self) -> Sequence[Table]:
        """Points that are remembered: they move with the scale, so all of them change."""
        sample = {f"model.{name}": array for name, array in self._model.sample().items()}
        return [Table(sample, None), Table({"recent": self._recent}, None)]

    def scalars(self) -> Arrays:
        """Scale and centres."""
        return {
            **add_prefix("scaler.", self._scaler.arrays()),
            **add_prefix("model.", self._model.scalars()),
            **add_prefix("pca.", self._pca.scalars()),
            **add_prefix("alarm.", self.drift_detector.scalars()),
            "told_at": np.array([self.last_published_events, self._named_review]),
            "algorithm": np.array([self.algorithm]),
            "next_id": np.array([self._model.next_id]),
            "ended": np.array([*self.retired.items()], np.int64).reshape(-1, 2),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave; of another algorithm, all but its clusters."""
        self._scaler.restore(strip_prefix("scaler.", arrays))
        if "algorithm" not in arrays or str(arrays["algorithm"][0]) == self.algorithm:
            self._model.restore(strip_prefix("model.", arrays))
        else:  # all begins anew, under other ids
            self._model.next_id = int(arrays["next_id"][0])
        if "pca.mean" in arrays:  # not in the first releases
            self._pca.restore(strip_prefix("pca.", arrays))
            self.drift_detector.restore(strip_prefix("alarm.", arrays))
            self.last_published_events, *review = arrays["told_at"].tolist()
            self._named_review = review[0] if review else 0
        self.retired = dict(arrays.get("ended", np.empty((0, 2), np.int64)).tolist())
        self._recent = arrays["recent"].copy()

    def _retire(self, retired: Sequence[tuple[int, int]]) -> None:
        """Note which clusters are no more; who waited to go to one of them goes on with it."""
        for number, replacement in retired:
            self.retired = {
                source: replacement if target == number else target
                for source, target in self.retired.items()
            }
            self.retired[number] = replacement
