"""The clusters of shoppers: features are scaled online and assigned to the nearest centre.

One object a flow. It changes its state in place, because a copy for each batch would cost more than
the learning. The names of the arrays are stored; everything else may be changed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.events.processing_errors import ProcessingErrors
from operators.models import cluster_quality
from operators.models.base import validate
from operators.models.dbstream import Dbstream
from operators.models.drift import DriftDetector
from operators.models.minibatch_kmeans import MiniBatchKMeans
from operators.models.online_pca import OnlinePca, Plane
from operators.models.river.named_clusterer import NamedClusterer
from operators.models.scaling import OnlineScaler
from operators.segments.clusters import naming
from operators.segments.clusters.estimators import parse_clusterer, parse_detector
from operators.shoppers.features import to_raw_units
from operators.tables.table import Table, TableState, add_prefix, strip_prefix
from state.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.models.base import Clusterer
    from operators.models.cluster_count import CountScore
    from operators.tables.table import Arrays

log = logging.getLogger("penstock.models")

RECENT_POINTS = 1024
MAP_POINTS = 512


@dataclass(frozen=True, slots=True)
class ClusterQuality:
    """Quality of the clusters now.

    inertia: mean squared distance (standard scores) of a point to its centre before the point was
    learned, over about the last 32 blocks. silhouette (1 is best), davies_bouldin (0 is best): over
    the last 1,024 points. All are nan before the first block.
    """

    inertia: float
    silhouette: float
    davies_bouldin: float


@dataclass(frozen=True, slots=True)
class Projection:
    """Recent points float64[n, 2] on the plane of the largest variance, the cluster of each, and
    the projected centres by cluster number."""

    plane: Plane
    points: NDArray[np.float64]
    labels: NDArray[np.intp]
    centres: dict[int, NDArray[np.float64]]


class ClusterModel(TableState):
    """Online scaling and clustering of feature rows float64[n, F], all finite.

    n_clusters: the number of clusters, or the smallest and the largest number. With a `radius`
    (standard scores) clusters are dense regions, and their number follows from the data. With an
    `estimator`, an expression of the configuration, River's clusterer of that name finds them; with a
    `drift_detector`, that one watches their distances.

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
        estimator: str = "",
        drift_detector: str = "",
        errors: ProcessingErrors | None = None,
    ) -> None:
        self._scaler = OnlineScaler(n_features, half_life_points)
        self._model: Clusterer
        if estimator:
            self._model = NamedClusterer(
                parse_clusterer(estimator, seed),
                estimator,
                n_features,
                errors or ProcessingErrors("clusters"),
                half_life_points,
                block_points,
                seed,
            )
        elif radius is None:
            self._model = MiniBatchKMeans(
                n_clusters, n_features, half_life_points, block_points, seed=seed
            )
        else:
            self._model = Dbstream(n_features, radius, half_life_points, block_points, seed=seed)
        self._recent = np.empty((0, n_features))
        self._pca = OnlinePca(n_features, half_life_points)
        self.last_published_events = 0
        """The number of events when the report was last published, 0 before the first time."""
        self.drift_detector = DriftDetector(
            partial(parse_detector, drift_detector, seed) if drift_detector else None
        )
        """Detects that points are farther from their centres than before."""
        self.retired: dict[int, int] = {}
        """Retired clusters whose shoppers have not been moved yet, with the replacement of each, or
        NO_ROW."""
        self._named_review = 0

    @property
    def started(self) -> bool:
        """Whether the first block was learned: before, no shopper is assigned."""
        return self._model.started

    @property
    def algorithm(self) -> str:
        """The name of the clustering algorithm."""
        return self._model.algorithm

    @property
    def failures(self) -> int:
        """Points that a named estimator could not learn."""
        return self._model.failures if isinstance(self._model, NamedClusterer) else 0

    @property
    def next_id(self) -> int:
        """One above the highest cluster number ever used."""
        return self._model.next_id

    @property
    def numbers(self) -> list[int]:
        """The numbers of the current clusters."""
        return [*self._model.centres_by_id()]

    @property
    def tried(self) -> Sequence[CountScore]:
        """The quality of other numbers of clusters, where the number may be chosen."""
        return self._model.count_scores

    def learn(self, features: NDArray[np.float64]) -> None:
        """Learn rows [n, F] in their order. ValueError for another F, or a value that is not
        finite."""
        validate(features, len(self._scaler.mean))
        mean, std = self._scaler.mean.copy(), self._scaler.std.copy()
        self._scaler.learn_array(features)
        # The model's points and centres are rescaled, so that old and new points stay comparable.
        self._model.rescale(*self._scaler.rescaling_from(mean, std))
        self._model.learn_array(self._scaler.transform_array(features))
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

        NO_ROW and nan before the first block. Learns nothing.
        """
        labels, squares = self._model.assign(self._scaler.transform_array(features))
        return labels, np.sqrt(squares).astype(np.float32)

    def quality(self) -> ClusterQuality:
        """Compute the quality: about 20 ms."""
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
        """Return a short, distinct name for each cluster: how its centre differs from the average.

        A `previous` name stays, unless the clusters were reviewed since and it no longer holds.
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
        """Return the features in which each cluster differs most, with the cluster's typical value
        as a multiple of the average. Typical is the mean; of features that are logarithms, the mean
        of these."""
        overall, own = to_raw_units(self._scaler.mean, feature_names), self._typical(feature_names)
        informative = naming.informative_features(overall, feature_names)
        scores_of = {
            number: np.where(informative, at, 0.0)
            for number, at in self._model.centres_by_id().items()
        }
        return {
            number: naming.feature_lifts(own[number], overall, scores, feature_names)
            for number, scores in scores_of.items()
        }

    def _typical(self, feature_names: Sequence[str]) -> dict[int, NDArray[np.float64]]:
        """Return the typical feature values of each cluster's shoppers."""
        std, mean = self._scaler.std, self._scaler.mean
        centres = self._model.centres_by_id().items()
        return {number: to_raw_units(at * std + mean, feature_names) for number, at in centres}

    def projection(self) -> Projection:
        """Project recent points and the centres on the plane of the largest variance."""
        points = self._scaler.transform_array(self._recent[-MAP_POINTS:])
        plane = self._pca.plane()
        centres = {number: plane.axes @ at for number, at in self._model.centres_by_id().items()}
        return Projection(plane, points @ plane.axes.T, self._model.assign(points)[0], centres)

    def tables(self) -> Sequence[Table]:
        """The remembered points. They are rescaled with every block, so all of them change."""
        of_model = (table.prefixed("model.") for table in self._model.tables())
        return [*of_model, Table({"recent": self._recent}, None)]

    def scalars(self) -> Arrays:
        """The scaler, centres, projection and drift detector."""
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
        """Restore a state that `arrays` returned; of another algorithm, everything but its
        clusters."""
        self._scaler.restore(strip_prefix("scaler.", arrays))
        try:
            if "algorithm" in arrays and str(arrays["algorithm"][0]) != self.algorithm:
                raise SnapshotError(f"the stored clusters are of {arrays['algorithm'][0]}")
            self._model.restore(strip_prefix("model.", arrays))
        except SnapshotError as error:  # the clusters start from empty, under other numbers
            log.warning("clusters start from empty: %s", error)
            self._model.next_id = int(arrays["next_id"][0])
        if "pca.mean" in arrays:  # not in the first releases
            self._pca.restore(strip_prefix("pca.", arrays))
            self.drift_detector.restore(strip_prefix("alarm.", arrays))
            self.last_published_events, *review = arrays["told_at"].tolist()
            self._named_review = review[0] if review else 0
        self.retired = dict(arrays.get("ended", np.empty((0, 2), np.int64)).tolist())
        self._recent = arrays["recent"].copy()

    def _retire(self, retired: Sequence[tuple[int, int]]) -> None:
        """Note retired clusters. A cluster whose replacement retires gets the replacement's
        replacement."""
        for number, replacement in retired:
            self.retired = {
                source: replacement if target == number else target
                for source, target in self.retired.items()
            }
            self.retired[number] = replacement
