"""Density clustering of a stream: DBSTREAM on plain arrays, with ids that stay.

What is learned is what River's `cluster.DBSTREAM` learns from the same points (a test holds the two
against each other), at a fraction of the time. The names of the arrays in `sample` and `small` are
stored; everything else is free.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse.csgraph import connected_components

from operators.models import kmeans
from operators.models.base import check
from operators.models.block_buffer import Blocks
from operators.models.cluster_count import Patience, Tried
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Points = NDArray[np.float64]
    Places = NDArray[np.intp]

MICRO_MOST = 256
"""Micro-clusters that are kept: where there are more, the lightest gives way."""
SHARED_LEAST = 0.2
"""Two micro-clusters are connected that share so much of their mean weight (the paper's alpha). With
River's .3 an evenly filled strip falls into pieces."""
WEIGHT_LEAST = 0.03
"""A group must have this share of all weight, or its points belong to the nearest other one."""
CLEAN_EVERY_POINTS = 256
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

    Points come in blocks, as for `BlockKMeans`, of which one in `learned_every` is learned, drawn by
    chance: it costs some 40 us. half_life_points: after so many points a micro-cluster counts half,
    None: it never fades. Memory: `MICRO_MOST` centres and the density each two of them share.
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
        self.fading = 0.0 if half_life_points is None else learned_every / half_life_points
        self.seen = 0
        """Points so far, without those that still wait for their block."""
        self.centres: Points = np.empty((0, n_features))
        """Where the micro-clusters are, float64[m, F]."""
        self.weights = np.empty(0)
        """Points each remembers as of when it won one last, float64[m]."""
        self.shared = np.empty((0, 0))
        """Points that each two won together, as of the last of them, float64[m, m]."""
        self.groups = np.empty(0, np.int64)
        """The group of each micro-cluster, NOBODY for those of none, int64[m]."""
        self.next_id = 0
        self.reviews = 0
        self.inertia = math.nan
        self.tried: list[Tried] = []
        self._won_at = np.empty(0)
        self._shared_at = np.empty((0, 0))
        self._time = 0
        self._patience = Patience()
        self._places: dict[int, Points] = {}
        self._ended: list[tuple[int, int]] = []
        self._blocks = Blocks(block_points, n_features)
        self._review_at = START_POINTS
        self._errors: list[float] = []

    @property
    def started(self) -> bool:
        """Whether there are groups."""
        return bool(self._places)

    def places(self) -> dict[int, Points]:
        """The mean of each group, by weight, float64[F], by id."""
        return self._places

    def learn(self, points: Points) -> None:
        """Learn points [n, F] in their order. ValueError for another F, or a value not finite."""
        check(points, self.n_features)
        for block in self._blocks.take(points):
            self._learn_block(block)

    def assign(self, points: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The group of each point's nearest micro-cluster, int64[n], and the squared distance to the
        group's mean, float64[n]; NOBODY and nan before there are groups."""
        if not self.started:
            return np.full(len(points), NOBODY), np.full(len(points), np.nan)
        grouped = np.flatnonzero(self.groups != NOBODY)
        ids = self.groups[grouped][kmeans.nearest(points, self.centres[grouped])]
        known = np.array([*self._places])
        means = np.array([*self._places.values()])[np.searchsorted(known, ids)]
        return ids, kmeans.squared_distances(points, means)

    def take_errors(self) -> list[float]:
        """Mean squared distances to the mean of the group, by block, since this was asked last."""
        errors, self._errors = self._errors, []
        return errors

    def take_ended(self) -> list[tuple[int, int]]:
        """The ids that ended since this was asked last, each with the one that goes on for it."""
        ended, self._ended = self._ended, []
        return ended

    def look_again(self) -> None:
        """Make groups anew with the next block."""
        self._review_at = max(self.seen, START_POINTS)

    def rescale(self, factor: Points, shift: Points) -> None:
        """Express all that is remembered in other units: x becomes x * factor + shift, each [F]."""
        for points in (self.centres, self._blocks.waiting):
            points *= factor
            points += shift
        self._locate()

    def sample(self) -> dict[str, NDArray[Any]]:
        """The micro-clusters, as views."""
        return {
            "micro": self.centres,
            "micro.weights": self.weights,
            "micro.won_at": self._won_at,
            "micro.groups": self.groups,
        }

    def small(self) -> dict[str, NDArray[Any]]:
        """The rest of the state, copies."""
        one, other = np.nonzero(self.shared)
        return {
            "shared.pairs": np.column_stack((one, other)).astype(np.int16),
            "shared": self.shared[one, other],
            "shared.at": self._shared_at[one, other],
            "waiting": self._blocks.waiting.copy(),
            "clock": np.array([self.seen, self._review_at, self.reviews, self.next_id, self._time]),
            "inertia": np.array([self.inertia]),
            "tried": np.array(self.tried).reshape(-1, 3),
            **self._patience.small(),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `sample` and `small` gave."""
        self.centres = arrays["micro"].copy()
        self.weights, self._won_at = arrays["micro.weights"].copy(), arrays["micro.won_at"].copy()
        self.groups = arrays["micro.groups"].copy()
        self.shared, self._shared_at = np.zeros((2, len(self.centres), len(self.centres)))
        one, other = arrays["shared.pairs"].astype(np.intp).T
        self.shared[one, other], self._shared_at[one, other] = arrays["shared"], arrays["shared.at"]
        self._blocks.restore(arrays["waiting"])
        self.seen, self._review_at, self.reviews, self.next_id, self._time = arrays[
            "clock"
        ].tolist()
        self.inertia = float(arrays["inertia"][0])
        self.tried = [Tried(int(k), score, left) for k, score, left in arrays["tried"].tolist()]
        self._patience.restore(arrays)
        self._locate()

    def _learn_block(self, points: Points) -> None:
        self.seen += len(points)
        if self.started:
            error = float(self.assign(points)[1].mean())
            self._errors.append(error)
            blocks = min(self.seen // self.block_points, INERTIA_OVER_BLOCKS)
            before = error if math.isnan(self.inertia) else self.inertia
            self.inertia = before + (error - before) / blocks
        # Chance depends on the place in the stream alone: there is no generator to be stored.
        drawn = np.random.default_rng((self.seed, self.seen)).permutation(len(points))
        for place in np.sort(drawn[: len(points) // self.learned_every]).tolist():
            self._learn_one(points[place])
        self._locate()
        if self.seen >= self._review_at:
            self._review()

    def _learn_one(self, point: Points) -> None:
        self._win(point)
        self._time += 1
        if self._time % CLEAN_EVERY_POINTS == 0 and self.fading:
            self._clean()

    def _win(self, point: Points) -> None:
        """Algorithm 1 of the paper."""
        now, radius = self._time, self.radius
        gaps = point - self.centres
        squares = np.einsum("nf,nf->n", gaps, gaps)
        near = np.flatnonzero(squares < radius * radius)
        if not len(near):
            self._found(point)
            return
        self.weights[near] *= np.exp2(-self.fading * (now - self._won_at[near]))
        self.weights[near] += 1.0
        self._won_at[near] = now
        before = self.centres[near]
        pull = np.exp(-squares[near] / (2 * (radius / 3) ** 2))
        after = before + pull[:, None] * gaps[near]
        if len(near) > 1:
            both = np.ix_(near, near)
            faded = np.exp2(-self.fading * (now - self._shared_at[both]))
            self.shared[both] = self.shared[both] * faded + (1.0 - np.eye(len(near)))
            self._shared_at[both] = now
            _keep_apart(before, after, radius)
        self.centres[near] = after

    def _found(self, point: Points) -> None:
        """A micro-cluster of its own for a point that is near to none."""
        place = len(self.centres)
        if place < MICRO_MOST:
            self.centres = np.concatenate([self.centres, point[None]])
            self.weights = np.append(self.weights, 1.0)
            self._won_at = np.append(self._won_at, self._time)
            self.groups = np.append(self.groups, NOBODY)
            self.shared = np.pad(self.shared, (0, 1))
            self._shared_at = np.pad(self._shared_at, (0, 1))
            return
        place = int(self._faded_weights().argmin())
        self.centres[place], self.weights[place], self.groups[place] = point, 1.0, NOBODY
        self._won_at[place] = self._time
        for pairs in (self.shared, self._shared_at):
            pairs[place], pairs[:, place] = 0.0, 0.0

    def _clean(self) -> None:
        """Algorithm 2: forget micro-clusters and shared densities that have faded."""
        weak = 2.0 ** (-self.fading * CLEAN_EVERY_POINTS)
        self._keep(self._faded_weights() >= weak)
        faded = self.shared * np.exp2(-self.fading * (self._time - self._shared_at))
        gone = faded < SHARED_LEAST * weak
        self.shared[gone], self._shared_at[gone] = 0.0, 0.0

    def _keep(self, kept: NDArray[np.bool_]) -> None:
        if kept.all():
            return
        self.centres, self.weights = self.centres[kept], self.weights[kept]
        self._won_at, self.groups = self._won_at[kept], self.groups[kept]
        self.shared, self._shared_at = self.shared[kept][:, kept], self._shared_at[kept][:, kept]

    def _faded_weights(self) -> NDArray[np.float64]:
        faded: NDArray[np.float64] = self.weights * np.exp2(
            -self.fading * (self._time - self._won_at)
        )
        return faded

    def _locate(self) -> None:
        """Where the groups are now. One without micro-clusters is no more."""
        former, weights = self._places, self._faded_weights()
        self._places = {}
        for number in np.unique(self.groups[self.groups != NOBODY]).tolist():
            own = self.groups == number
            self._places[number] = weights[own] @ self.centres[own] / weights[own].sum()
        for number in [number for number in former if number not in self._places]:
            heir = NOBODY
            if self._places:
                heir = int(self.assign(former[number][None])[0][0])
            self._ended.append((number, heir))

    def _review(self) -> None:
        """Make groups anew; take them if there are as many as before, or long have been."""
        found = self._connected()
        number = int(found.max(initial=NOBODY)) + 1
        is_new = number if number != len(self._places) else None
        if number and (not self.started or is_new is None or self._patience.is_out(is_new)):
            self._regroup(found, number)
        if is_new is None:
            self._patience.is_out(None)
        self.reviews += 1
        # What is waited for comes soon.
        most = REVIEW_SOON_POINTS if self._patience.asked else REVIEW_EVERY_POINTS
        self._review_at = self.seen + min(int((REVIEW_GROWTH - 1) * self.seen), most)

    def _connected(self) -> Places:
        """Algorithm 3: the group of each micro-cluster by shared density, 0 for the heaviest; NOBODY
        for those of groups too small."""
        weights = self._faded_weights()
        faded = self.shared * np.exp2(-self.fading * (self._time - self._shared_at))
        mean = (weights[:, None] + weights) / 2
        labels: Places = connected_components(faded > SHARED_LEAST * mean, directed=False)[1]
        sums = np.bincount(labels, weights)
        order = np.argsort(-sums, kind="stable")
        place = np.full(len(sums), NOBODY, np.intp)
        large = order[sums[order] >= WEIGHT_LEAST * weights.sum()]
        place[large] = np.arange(len(large))
        found: Places = place[labels]
        return found

    def _regroup(self, found: Places, number: int) -> None:
        """Take groups over; those that go on keep their ids."""
        ids = np.array([*self._places], np.int64)
        before = np.searchsorted(ids, self.groups)
        both = np.flatnonzero((self.groups != NOBODY) & (found != NOBODY))
        order = np.full(number, NOBODY, np.intp)
        if len(ids):
            weights = self._faded_weights()[both]
            order = kmeans.continued(before[both], found[both], len(ids), number, weights)
        fresh = order == NOBODY
        own = np.empty(number, np.int64)
        own[~fresh] = ids[order[~fresh]]
        own[fresh] = self.next_id + np.arange(fresh.sum())
        self.next_id += int(fresh.sum())
        self.groups = np.append(own, NOBODY)[found]
        self._locate()


def _keep_apart(before: Points, after: Points, radius: float) -> None:
    """Put back pairs that would come nearer to each other than the radius, in their order."""
    for a in range(len(after)):
        for b in range(a + 1, len(after)):
            gap = after[a] - after[b]
            if gap @ gap < radius * radius:
                after[a], after[b] = before[a], before[b]
