"""Density clustering of a stream: DBSTREAM on plain arrays, with ids that stay.

What is learned is what River's `cluster.DBSTREAM` learns from the same points (a test holds the two
against each other), at a fraction of the time. The names of the arrays in `sample` and `scalars` are
stored; everything else is free.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.csgraph import connected_components

from operators.models import kmeans
from operators.models.base import validate
from operators.models.block_buffer import BlockBuffer
from operators.models.cluster_count import CountScore, Patience
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Indices = NDArray[np.intp]

MICRO_CLUSTERS_MAX = 256
"""Micro-clusters that are kept: where there are more, the lightest gives way."""
SHARED_DENSITY_MIN = 0.2
"""Two micro-clusters are connected that share so much of their mean weight (the paper's alpha). With
River's .3 an evenly filled strip falls into pieces."""
GROUP_WEIGHT_SHARE_MIN = 0.03
"""A group must have this share of all weight, or its points belong to the nearest other one."""
PRUNE_EVERY_POINTS = 256
"""Learned points after which what has faded is forgotten."""
INERTIA_OVER_BLOCKS = 32
START_POINTS = 1024
"""The first groups are made after so many: of fewer, chance makes too many."""
REVIEW_GROWTH = 1.5
REVIEW_EVERY_POINTS = 8192
REVIEW_SOON_POINTS = 1024


class Dbstream:
    """DBSTREAM (Hahsler and Bolaños 2016, "Clustering data streams based on shared density between
    micro-clusters").

    A point moves the micro-clusters whose centres are within `radius`, or founds one; two that often win
    the same points share density, and those connected by it are one group, of whatever shape. At
    growing intervals groups are made anew; their number changes when three such looks in a row name the
    same one, and groups that go on keep their ids (`kmeans.continued`, by weight). A point belongs to
    the group of the nearest micro-cluster.

    Points come in blocks, as for `MiniBatchKMeans`, of which one in `learned_every` is learned, drawn by
    chance: it costs some 40 us. half_life_points: after so many points a micro-cluster counts half,
    None: it never fades. Memory: `MICRO_CLUSTERS_MAX` centres and the density each two of them share.
    """

    algorithm = "DBSTREAM"

    def __init__(
        self,
        n_features: int,
        radius: float,
        half_life_points: float | None = None,
        block_points: int = 256,
        learned_every: int = 8,
        seed: int = 0,
    ) -> None:
        self.n_features = n_features
        self.radius = radius
        self.block_points = block_points
        self.learned_every = learned_every
        self.seed = seed
        self.decay_rate = 0.0 if half_life_points is None else learned_every / half_life_points
        self.seen = 0
        """Points so far, without those that still wait for their block."""
        self.centres: Points = np.empty((0, n_features))
        """Where the micro-clusters are, float64[m, F]."""
        self.weights = np.empty(0)
        """Points each remembers as of when it won one last, float64[m]."""
        self.shared = np.empty((0, 0))
        """Points that each two won together, as of the last of them, float64[m, m]."""
        self.groups = np.empty(0, np.int64)
        """The group of each micro-cluster, NO_ROW for those of none, int64[m]."""
        self.next_id = 0
        self.reviews = 0
        self.inertia = math.nan
        self.count_scores: list[CountScore] = []
        self._won_at = np.empty(0)
        self._shared_at = np.empty((0, 0))
        self._time = 0
        self._patience = Patience()
        self._centres_by_id: dict[int, Points] = {}
        self._retired: list[tuple[int, int]] = []
        self._blocks = BlockBuffer(block_points, n_features)
        self._review_at = START_POINTS
        self._errors: list[float] = []

    @property
    def started(self) -> bool:
        """Whether there are groups."""
        return bool(self._centres_by_id)

    def centres_by_id(self) -> dict[int, Points]:
        """The mean of each group, by weight, float64[F], by id."""
        return self._centres_by_id

    def learn(self, points: Points) -> None:
        """Learn points [n, F] in their order. ValueError for another F, or a value not finite."""
        validate(points, self.n_features)
        for block in self._blocks.push(points):
            self._learn_block(block)

    def assign(self, points: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The group of each point's nearest micro-cluster, int64[n], and the squared distance to the
        group's mean, float64[n]; NO_ROW and nan before there are groups."""
        if not self.started:
            return np.full(len(points), NO_ROW), np.full(len(points), np.nan)
        grouped = np.flatnonzero(self.groups != NO_ROW)
        ids = self.groups[grouped][kmeans.nearest(points, self.centres[grouped])]
        known = np.array([*self._centres_by_id])
        means = np.array([*self._centres_by_id.values()])[np.searchsorted(known, ids)]
        return ids, kmeans.squared_distances(points, means)

    def take_errors(self) -> list[float]:
        """Mean squared distances to the mean of the group, by block, since this was asked last."""
        errors, self._errors = self._errors, []
        return errors

    def take_retired(self) -> list[tuple[int, int]]:
        """The ids that ended since this was asked last, each with the one that goes on for it."""
        retired, self._retired = self._retired, []
        return retired

    def request_review(self) -> None:
        """Make groups anew with the next block."""
        self._review_at = max(self.seen, START_POINTS)

    def rescale(self, factor: Points, shift: Points) -> None:
        """Express all that is remembered in other units: x becomes x * factor + shift, each [F]."""
        for points in (self.centres, self._blocks.buffered):
            points *= factor
            points += shift
        self._update_groups()

    def sample(self) -> dict[str, NDArray[Any]]:
        """The micro-clusters, as views."""
        return {
            "micro": self.centres,
            "micro.weights": self.weights,
            "micro.won_at": self._won_at,
            "micro.groups": self.groups,
        }

    def scalars(self) -> dict[str, NDArray[Any]]:
        """The rest of the state, copies."""
        first, second = np.nonzero(self.shared)
        return {
            "shared.pairs": np.column_stack((first, second)).astype(np.int16),
            "shared": self.shared[first, second],
            "shared.at": self._shared_at[first, second],
            "waiting": self._blocks.buffered.copy(),
            "clock": np.array([self.seen, self._review_at, self.reviews, self.next_id, self._time]),
            "inertia": np.array([self.inertia]),
            "tried": np.array(self.count_scores).reshape(-1, 3),
            **self._patience.scalars(),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `sample` and `scalars` gave."""
        self.centres = arrays["micro"].copy()
        self.weights, self._won_at = arrays["micro.weights"].copy(), arrays["micro.won_at"].copy()
        self.groups = arrays["micro.groups"].copy()
        self.shared, self._shared_at = np.zeros((2, len(self.centres), len(self.centres)))
        first, second = arrays["shared.pairs"].astype(np.intp).T
        self.shared[first, second], self._shared_at[first, second] = (
            arrays["shared"],
            arrays["shared.at"],
        )
        self._blocks.restore(arrays["waiting"])
        self.seen, self._review_at, self.reviews, self.next_id, self._time = arrays[
            "clock"
        ].tolist()
        self.inertia = float(arrays["inertia"][0])
        self.count_scores = [
            CountScore(int(k), score, inertia) for k, score, inertia in arrays["tried"].tolist()
        ]
        self._patience.restore(arrays)
        self._update_groups()

    def _learn_block(self, points: Points) -> None:
        self.seen += len(points)
        if self.started:
            error = float(self.assign(points)[1].mean())
            self._errors.append(error)
            blocks = min(self.seen // self.block_points, INERTIA_OVER_BLOCKS)
            previous = error if math.isnan(self.inertia) else self.inertia
            self.inertia = previous + (error - previous) / blocks
        # Chance depends on the place in the stream alone: there is no generator to be stored.
        permutation = np.random.default_rng((self.seed, self.seen)).permutation(len(points))
        for index in np.sort(permutation[: len(points) // self.learned_every]).tolist():
            self._learn_one(points[index])
        self._update_groups()
        if self.seen >= self._review_at:
            self._review()

    def _learn_one(self, point: Points) -> None:
        self._attract(point)
        self._time += 1
        if self._time % PRUNE_EVERY_POINTS == 0 and self.decay_rate:
            self._prune()

    def _attract(self, point: Points) -> None:
        """Algorithm 1 of the paper."""
        now, radius = self._time, self.radius
        gaps = point - self.centres
        squares = np.einsum("nf,nf->n", gaps, gaps)
        near = np.flatnonzero(squares < radius * radius)
        if not len(near):
            self._create(point)
            return
        self.weights[near] *= np.exp2(-self.decay_rate * (now - self._won_at[near]))
        self.weights[near] += 1.0
        self._won_at[near] = now
        previous = self.centres[near]
        pull = np.exp(-squares[near] / (2 * (radius / 3) ** 2))
        moved = previous + pull[:, None] * gaps[near]
        if len(near) > 1:
            both = np.ix_(near, near)
            decay = np.exp2(-self.decay_rate * (now - self._shared_at[both]))
            self.shared[both] = self.shared[both] * decay + (1.0 - np.eye(len(near)))
            self._shared_at[both] = now
            _undo_collisions(previous, moved, radius)
        self.centres[near] = moved

    def _create(self, point: Points) -> None:
        """A micro-cluster of its own for a point that is near to none."""
        slot = len(self.centres)
        if slot < MICRO_CLUSTERS_MAX:
            self.centres = np.concatenate([self.centres, point[None]])
            self.weights = np.append(self.weights, 1.0)
            self._won_at = np.append(self._won_at, self._time)
            self.groups = np.append(self.groups, NO_ROW)
            self.shared = np.pad(self.shared, (0, 1))
            self._shared_at = np.pad(self._shared_at, (0, 1))
            return
        slot = int(self._decayed_weights().argmin())
        self.centres[slot], self.weights[slot], self.groups[slot] = point, 1.0, NO_ROW
        self._won_at[slot] = self._time
        for pairs in (self.shared, self._shared_at):
            pairs[slot], pairs[:, slot] = 0.0, 0.0

    def _prune(self) -> None:
        """Algorithm 2: forget micro-clusters and shared densities that have faded."""
        weak = 2.0 ** (-self.decay_rate * PRUNE_EVERY_POINTS)
        self._filter(self._decayed_weights() >= weak)
        decayed = self.shared * np.exp2(-self.decay_rate * (self._time - self._shared_at))
        negligible = decayed < SHARED_DENSITY_MIN * weak
        self.shared[negligible], self._shared_at[negligible] = 0.0, 0.0

    def _filter(self, mask: NDArray[np.bool_]) -> None:
        if mask.all():
            return
        self.centres, self.weights = self.centres[mask], self.weights[mask]
        self._won_at, self.groups = self._won_at[mask], self.groups[mask]
        self.shared, self._shared_at = self.shared[mask][:, mask], self._shared_at[mask][:, mask]

    def _decayed_weights(self) -> NDArray[np.float64]:
        decayed: NDArray[np.float64] = self.weights * np.exp2(
            -self.decay_rate * (self._time - self._won_at)
        )
        return decayed

    def _update_groups(self) -> None:
        """Where the groups are now. One without micro-clusters is no more."""
        previous, weights = self._centres_by_id, self._decayed_weights()
        self._centres_by_id = {}
        for group in np.unique(self.groups[self.groups != NO_ROW]).tolist():
            members = self.groups == group
            self._centres_by_id[group] = (
                weights[members] @ self.centres[members] / weights[members].sum()
            )
        for group in [number for number in previous if number not in self._centres_by_id]:
            replacement = NO_ROW
            if self._centres_by_id:
                replacement = int(self.assign(previous[group][None])[0][0])
            self._retired.append((group, replacement))

    def _review(self) -> None:
        """Make groups anew; take them if there are as many as before, or long have been."""
        labels = self._components()
        group_count = int(labels.max(initial=NO_ROW)) + 1
        new_count = group_count if group_count != len(self._centres_by_id) else None
        if group_count and (
            not self.started or new_count is None or self._patience.confirm(new_count)
        ):
            self._recluster(labels, group_count)
        if new_count is None:
            self._patience.confirm(None)
        self.reviews += 1
        # What is waited for comes soon.
        points_max = REVIEW_SOON_POINTS if self._patience.proposed else REVIEW_EVERY_POINTS
        self._review_at = self.seen + min(int((REVIEW_GROWTH - 1) * self.seen), points_max)

    def _components(self) -> Indices:
        """Algorithm 3: the group of each micro-cluster by shared density, 0 for the heaviest; NO_ROW
        for those of groups too small."""
        weights = self._decayed_weights()
        decayed = self.shared * np.exp2(-self.decay_rate * (self._time - self._shared_at))
        mean = (weights[:, None] + weights) / 2
        labels: Indices = connected_components(decayed > SHARED_DENSITY_MIN * mean, directed=False)[
            1
        ]
        sums = np.bincount(labels, weights)
        order = np.argsort(-sums, kind="stable")
        rank = np.full(len(sums), NO_ROW, np.intp)
        large = order[sums[order] >= GROUP_WEIGHT_SHARE_MIN * weights.sum()]
        rank[large] = np.arange(len(large))
        groups: Indices = rank[labels]
        return groups

    def _recluster(self, labels: Indices, group_count: int) -> None:
        """Take groups over; those that go on keep their ids."""
        ids = np.array([*self._centres_by_id], np.int64)
        previous = np.searchsorted(ids, self.groups)
        both = np.flatnonzero((self.groups != NO_ROW) & (labels != NO_ROW))
        continued = np.full(group_count, NO_ROW, np.intp)
        if len(ids):
            weights = self._decayed_weights()[both]
            continued = kmeans.match_labels(
                previous[both], labels[both], len(ids), group_count, weights
            )
        is_new = continued == NO_ROW
        new_ids = np.empty(group_count, np.int64)
        new_ids[~is_new] = ids[continued[~is_new]]
        new_ids[is_new] = self.next_id + np.arange(is_new.sum())
        self.next_id += int(is_new.sum())
        self.groups = np.append(new_ids, NO_ROW)[labels]
        self._update_groups()


def _undo_collisions(previous: Points, moved: Points, radius: float) -> None:
    """Put back pairs that would come nearer to each other than the radius, in their order."""
    for a in range(len(moved)):
        for b in range(a + 1, len(moved)):
            gap = moved[a] - moved[b]
            if gap @ gap < radius * radius:
                moved[a], moved[b] = previous[a], previous[b]
