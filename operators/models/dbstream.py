"""Density clustering of a stream: DBSTREAM on plain arrays, with ids that stay.

The names of the arrays in `sample` and `scalars` are stored; everything else is free.

Oracle: River's `cluster.DBSTREAM`; a test compares the micro-clusters. Groups differ from River's on
purpose: they keep their ids, and a change of their number must be confirmed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.models import kmeans
from operators.models.base import Clusterer
from operators.models.cluster_ids import carry_ids, match_labels
from operators.models.micro_clusters import MicroClusters
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Points = NDArray[np.float64]

START_POINTS = 1024
"""The first groups are made after so many points: of fewer, chance makes too many groups."""
REVIEW_GROWTH = 1.5
REVIEW_EVERY_POINTS = 8192
REVIEW_SOON_POINTS = 1024


class Dbstream(Clusterer):
    """DBSTREAM (Hahsler and Bolaños 2016, "Clustering data streams based on shared density between
    micro-clusters").

    A point moves the micro-clusters whose centres are within `radius`, or creates one. Two that are
    often near the same points share density, and those connected by it are one group, of whatever
    shape. A point belongs to the group of the nearest micro-cluster. At growing intervals a review
    makes the groups anew. Their number changes when three reviews in a row propose the same one, and
    groups that continue keep their ids (`cluster_ids`, by weight).

    Learning a point takes some 40 us, so only a part is learned. Memory: 256 centres and the density
    each two of them share.

    Parameters
    ----------
    n_features
        Features that are known beforehand, named 0, 1, ...
    radius
        Distance within which a point moves a micro-cluster.
    half_life_points
        After so many points a micro-cluster counts half; None: it never decays.
    block_points
        Points of which some are learned together.
    learned_every
        One point in so many of a block is learned, drawn at random.
    seed
        Same seed and same points, same groups.

    Examples
    --------
    >>> model = Dbstream(radius=2.0, learned_every=1)
    >>> for n in range(1024):
    ...     model.learn_one({"x": 10.0 * (n % 2)})
    >>> sorted(centre["x"] for centre in model.centers.values())
    [0.0, 10.0]
    """

    algorithm = "DBSTREAM"

    def __init__(
        self,
        n_features: int = 0,
        radius: float = 1.5,
        half_life_points: float | None = None,
        block_points: int = 256,
        learned_every: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__(n_features, block_points, seed)
        self.radius = radius
        self.half_life_points = half_life_points
        self.learned_every = learned_every
        decay_rate = 0.0 if half_life_points is None else learned_every / half_life_points
        self.micro_clusters = MicroClusters(n_features, radius, decay_rate)
        self._centres_by_id: dict[int, Points] = {}
        self._review_at = START_POINTS

    @property
    def started(self) -> bool:
        """Whether there are groups."""
        return bool(self._centres_by_id)

    def centres_by_id(self) -> dict[int, Points]:
        """The mean of each group, by weight, float64[F], by id."""
        return self._centres_by_id

    def assign(self, points: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The group of each point's nearest micro-cluster, int64[n], and the squared distance to the
        group's mean, float64[n]; NO_ROW and nan before there are groups."""
        if not self.started:
            return np.full(len(points), NO_ROW), np.full(len(points), np.nan)
        micro = self.micro_clusters
        grouped = np.flatnonzero(micro.groups != NO_ROW)
        ids = micro.groups[grouped][kmeans.nearest(points, micro.centres[grouped])]
        known = np.array([*self._centres_by_id])
        means = np.array([*self._centres_by_id.values()])[np.searchsorted(known, ids)]
        return ids, kmeans.squared_distances(points, means)

    def request_review(self) -> None:
        """Make the groups anew with the next block."""
        self._review_at = max(self.seen, START_POINTS)

    def rescale(self, factor: Points, shift: Points) -> None:
        """Convert all that is remembered to other units: x becomes x * factor + shift, each [F]."""
        for points in (self.micro_clusters.centres, self._blocks.buffered):
            points *= factor
            points += shift
        self._update_groups()

    def sample(self) -> dict[str, NDArray[Any]]:
        """The micro-clusters, as views."""
        return self.micro_clusters.columns()

    def scalars(self) -> dict[str, NDArray[Any]]:
        """The rest of the state, copied."""
        clock = [self.seen, self._review_at, self.reviews, self.next_id, self.micro_clusters.time]
        return {
            **self.micro_clusters.pairs(),
            "waiting": self._blocks.buffered.copy(),
            "clock": np.array(clock),
            **self._shared_scalars(),
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave."""
        self._restore_shared(arrays)
        self.seen, self._review_at, self.reviews, self.next_id, time = arrays["clock"].tolist()
        self.micro_clusters.restore(arrays, time)
        self._update_groups()

    def _extend(self, n_features: int) -> None:
        self._blocks.add_features(n_features)
        self.micro_clusters.add_features(n_features)
        self._centres_by_id = {
            group: np.pad(mean, (0, n_features - len(mean)))
            for group, mean in self._centres_by_id.items()
        }

    def _learn_block(self, points: Points) -> None:
        self.seen += len(points)
        if self.started:
            self._add_error(float(self.assign(points)[1].mean()))
        # Seeded by the position in the stream: no generator has to be stored.
        permutation = np.random.default_rng((self.seed, self.seen)).permutation(len(points))
        for index in np.sort(permutation[: len(points) // self.learned_every]).tolist():
            self.micro_clusters.learn_one(points[index])
        self._update_groups()
        if self.seen >= self._review_at:
            self._review()

    def _update_groups(self) -> None:
        """Compute the means of the groups; a group without micro-clusters is retired."""
        micro, previous = self.micro_clusters, self._centres_by_id
        groups, weights = micro.groups, micro.decayed_weights()
        self._centres_by_id = {}
        for group in np.unique(groups[groups != NO_ROW]).tolist():
            members = groups == group
            mean = weights[members] @ micro.centres[members] / weights[members].sum()
            self._centres_by_id[group] = mean
        for group in [group for group in previous if group not in self._centres_by_id]:
            replacement = NO_ROW
            if self._centres_by_id:
                replacement = int(self.assign(previous[group][None])[0][0])
            self._retired.append((group, replacement))

    def _review(self) -> None:
        """Make the groups anew; accept them if their number is as before, or is confirmed."""
        labels = self.micro_clusters.components()
        group_count = int(labels.max(initial=NO_ROW)) + 1
        new_count = group_count if group_count != len(self._centres_by_id) else None
        if group_count and (
            not self.started or new_count is None or self._patience.confirm(new_count)
        ):
            self._recluster(labels, group_count)
        if new_count is None:
            self._patience.confirm(None)
        self.reviews += 1
        # Sooner while a new number of groups waits for its confirmation.
        points_max = REVIEW_SOON_POINTS if self._patience.proposed else REVIEW_EVERY_POINTS
        self._review_at = self.seen + min(int((REVIEW_GROWTH - 1) * self.seen), points_max)

    def _recluster(self, labels: NDArray[np.intp], group_count: int) -> None:
        """Replace the groups; those that continue keep their ids."""
        micro = self.micro_clusters
        ids = np.array([*self._centres_by_id], np.int64)
        previous = np.searchsorted(ids, micro.groups)
        both = np.flatnonzero((micro.groups != NO_ROW) & (labels != NO_ROW))
        continued = np.full(group_count, NO_ROW, np.intp)
        if len(ids):
            weights = micro.decayed_weights()[both]
            continued = match_labels(previous[both], labels[both], len(ids), group_count, weights)
        new_ids, self.next_id = carry_ids(continued, ids, self.next_id)
        micro.groups = np.append(new_ids, NO_ROW)[labels]
        self._update_groups()
