"""The micro-clusters of DBSTREAM: where points are dense, and which dense places share points.

Learns what River's `cluster.DBSTREAM` learns from the same points (a test compares the two), in a
fraction of the time. The names of the arrays in `columns` and `pairs` are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from state.arrays import NO_ROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Points = NDArray[np.float64]
    Indices = NDArray[np.intp]

MICRO_CLUSTERS_MAX = 256
"""Micro-clusters that are kept: a new one beyond replaces the lightest."""
SHARED_DENSITY_MIN = 0.2
"""Two micro-clusters are connected if they share so much of their mean weight (the paper's alpha).
With River's .3 an evenly filled strip falls into pieces."""
GROUP_WEIGHT_SHARE_MIN = 0.03
"""A group must have this share of all weight; points of a smaller one belong to the nearest group."""
PRUNE_EVERY_POINTS = 256
"""Learned points after which micro-clusters and densities that have decayed are removed."""


class MicroClusters:
    """At most `MICRO_CLUSTERS_MAX` micro-clusters, and the density each two of them share.

    decay_rate: halvings of a weight per learned point, 0: none. `groups` belongs to the caller: it is
    kept in step with the other columns, NO_ROW for a new micro-cluster.
    """

    def __init__(self, n_features: int, radius: float, decay_rate: float) -> None:
        self.radius = radius
        self.decay_rate = decay_rate
        self.centres: Points = np.empty((0, n_features))
        """Where the micro-clusters are, float64[m, F]."""
        self.weights = np.empty(0)
        """Points each remembers, as of when a point was last near it, float64[m]."""
        self.shared = np.empty((0, 0))
        """Points that were near both of two, as of the last of them, float64[m, m]."""
        self.groups = np.empty(0, np.int64)
        """The group of each micro-cluster, NO_ROW for none, int64[m]."""
        self.time = 0
        """Learned points."""
        self._won_at = np.empty(0)
        self._shared_at = np.empty((0, 0))

    def learn_one(self, point: Points) -> None:
        """Learn one point [F]."""
        self._attract(point)
        self.time += 1
        if self.time % PRUNE_EVERY_POINTS == 0 and self.decay_rate:
            self._prune()

    def add_features(self, n_features: int) -> None:
        """Extend centres to so many features; the new ones were 0 so far."""
        self.centres = np.pad(self.centres, ((0, 0), (0, n_features - self.centres.shape[1])))

    def decayed_weights(self) -> NDArray[np.float64]:
        """The weight of each micro-cluster as of now, float64[m]."""
        decayed: NDArray[np.float64] = self.weights * np.exp2(
            -self.decay_rate * (self.time - self._won_at)
        )
        return decayed

    def components(self) -> Indices:
        """Algorithm 3 of the paper: the group of each micro-cluster by shared density, intp[m].

        0 is the heaviest group; NO_ROW where the group is too light.
        """
        # Here, since a start without DBSTREAM needs none of its 10 MB.
        from scipy.sparse.csgraph import connected_components

        weights = self.decayed_weights()
        decayed = self.shared * np.exp2(-self.decay_rate * (self.time - self._shared_at))
        mean = (weights[:, None] + weights) / 2
        is_connected = decayed > SHARED_DENSITY_MIN * mean
        labels: Indices = connected_components(is_connected, directed=False)[1]
        sums = np.bincount(labels, weights)
        order = np.argsort(-sums, kind="stable")
        rank = np.full(len(sums), NO_ROW, np.intp)
        large = order[sums[order] >= GROUP_WEIGHT_SHARE_MIN * weights.sum()]
        rank[large] = np.arange(len(large))
        groups: Indices = rank[labels]
        return groups

    def columns(self) -> dict[str, NDArray[Any]]:
        """One row for each micro-cluster, as views."""
        return {
            "micro": self.centres,
            "micro.weights": self.weights,
            "micro.won_at": self._won_at,
            "micro.groups": self.groups,
        }

    def pairs(self) -> dict[str, NDArray[Any]]:
        """The shared densities other than 0, copied."""
        first, second = np.nonzero(self.shared)
        return {
            "shared.pairs": np.column_stack((first, second)).astype(np.int16),
            "shared": self.shared[first, second],
            "shared.at": self._shared_at[first, second],
        }

    def restore(self, arrays: Arrays, time: int) -> None:
        """Restore what `columns`, `pairs` and `time` gave."""
        self.centres = arrays["micro"].copy()
        self.weights, self._won_at = arrays["micro.weights"].copy(), arrays["micro.won_at"].copy()
        self.groups = arrays["micro.groups"].copy()
        self.shared, self._shared_at = np.zeros((2, len(self.centres), len(self.centres)))
        first, second = arrays["shared.pairs"].astype(np.intp).T
        self.shared[first, second] = arrays["shared"]
        self._shared_at[first, second] = arrays["shared.at"]
        self.time = time

    def _attract(self, point: Points) -> None:
        """Algorithm 1 of the paper."""
        now, radius = self.time, self.radius
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
        """Create a micro-cluster at a point that is near to none."""
        slot = len(self.centres)
        if slot < MICRO_CLUSTERS_MAX:
            self.centres = np.concatenate([self.centres, point[None]])
            self.weights = np.append(self.weights, 1.0)
            self._won_at = np.append(self._won_at, self.time)
            self.groups = np.append(self.groups, NO_ROW)
            self.shared = np.pad(self.shared, (0, 1))
            self._shared_at = np.pad(self._shared_at, (0, 1))
            return
        slot = int(self.decayed_weights().argmin())
        self.centres[slot], self.weights[slot], self.groups[slot] = point, 1.0, NO_ROW
        self._won_at[slot] = self.time
        for matrix in (self.shared, self._shared_at):
            matrix[slot], matrix[:, slot] = 0.0, 0.0

    def _prune(self) -> None:
        """Algorithm 2 of the paper: remove micro-clusters and shared densities that have decayed."""
        weak = 2.0 ** (-self.decay_rate * PRUNE_EVERY_POINTS)
        self._filter(self.decayed_weights() >= weak)
        decayed = self.shared * np.exp2(-self.decay_rate * (self.time - self._shared_at))
        negligible = decayed < SHARED_DENSITY_MIN * weak
        self.shared[negligible], self._shared_at[negligible] = 0.0, 0.0

    def _filter(self, mask: NDArray[np.bool_]) -> None:
        if mask.all():
            return
        self.centres, self.weights = self.centres[mask], self.weights[mask]
        self._won_at, self.groups = self._won_at[mask], self.groups[mask]
        self.shared, self._shared_at = self.shared[mask][:, mask], self._shared_at[mask][:, mask]


def _undo_collisions(previous: Points, moved: Points, radius: float) -> None:
    """Undo the moves of pairs that came nearer to each other than the radius, in their order."""
    for a in range(len(moved)):
        for b in range(a + 1, len(moved)):
            gap = moved[a] - moved[b]
            if gap @ gap < radius * radius:
                moved[a], moved[b] = previous[a], previous[b]
