"""k-means that learns in one pass, in blocks of points, on plain arrays.

To be changed by measurement only: `python -m benchmarks.clusters` compares it with batch k-means.
The names of the arrays in `arrays` are stored; everything else is free.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.models import cluster_count, cluster_quality, kmeans
from operators.models.base import validate
from operators.models.block_buffer import BlockBuffer
from operators.models.cluster_count import CountScore, Patience
from operators.models.reservoir import Reservoir
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Points = NDArray[np.float64]

ROUNDING = 1e-24
"""A squared distance below this share of a point's own square is the rounding of a mean."""

CENTRE_WEIGHT_MIN = 0.5
"""A centre that remembers fewer points than this (after forgetting) is dead and wins none."""

INERTIA_OVER_BLOCKS = 32
REVIEW_GROWTH = 1.5
REVIEW_EVERY_SAMPLES = 32
RESTARTS = 3
ROUNDS_MAX = 20
INERTIA_RATIO_MAX = 0.99
"""A review adopts centres that leave less than this share of the sample's inertia: first those that
stand, polished, then fresh ones, which may make other groups, against the polished ones."""
EVALUATED_POINTS = 512
"""Numbers of clusters are compared on so many points of the sample."""


class MiniBatchKMeans:
    """Mini-batch k-means (Sculley 2010, "Web-scale k-means clustering") with a memory for restarts.

    Points wait until `block_points` are together. A block moves each centre to the mean of all
    points it ever won (with `half_life_points`, of the recent ones), so the result does not depend
    on how the points were cut into calls. The first block starts the centres by k-means++.
    Beside them a bounded sample of the stream is kept. At growing intervals batch k-means runs on
    it, from the centres as they are and from fresh starts; a clearly better result is adopted.

    Where the number of centres may be chosen (`n_clusters` is a range), a review also tries every
    number on the sample, from fresh starts; what is clearly better in three reviews in a row is taken.

    An id means the same group for ever. What is adopted keeps the ids of the groups that go on
    (`kmeans.continued`); a group that was not there gets an id that never was, and one that is no
    more names the one that most of its points came to (`take_retired`). So does a dead centre, which
    is re-seeded far from the others, or left out where there may be fewer.

    n_clusters: k, at most 2**15, or the least and the most. half_life_points: after so many points an
    old one counts half, None never forgets. sample_points: the size of the sample, never more than is
    remembered. Memory: (sample_points + block_points + k) * F numbers. Same seed, same points, same
    centres.
    """

    algorithm = "mini-batch k-means"

    def __init__(
        self,
        n_clusters: int | tuple[int, int],
        n_features: int,
        half_life_points: float | None = None,
        block_points: int = 256,
        sample_points: int = 4096,
        seed: int = 0,
    ) -> None:
        count_min, count_max = (
            (n_clusters, n_clusters) if isinstance(n_clusters, int) else n_clusters
        )
        self.allowed_counts = range(count_min, count_max + 1)
        """How many centres there may be."""
        self.n_features = n_features
        self.half_life_points = half_life_points
        self.block_points = block_points
        self.seed = seed
        self.seen = 0
        """Points learned so far, without those that still wait for their block."""
        self.reviews = 0
        """How often all centres were looked at, the start among them."""
        self.counts = np.zeros(0)
        """Points each centre remembers, float64[k]."""
        self.centres: Points = np.empty((0, n_features))
        """Where the centres are, float64[k, F]; no rows before the first block."""
        self.ids = np.zeros(0, np.int64)
        """The id of each centre, int64[k]."""
        self.next_id = 0
        self.inertia = math.nan
        """Mean squared distance of a point to its centre just before it was learned, over about
        the last 32 blocks."""
        self.count_scores: list[CountScore] = []
        """What the last review said of each number of centres that may be."""
        self._patience = Patience()
        self._retired: list[tuple[int, int]] = []
        self._blocks = BlockBuffer(block_points, n_features)
        self._review_at = 0
        self._errors: list[float] = []
        sample_size = sample_points
        if half_life_points is not None:
            sample_size = min(sample_points, int(half_life_points / math.log(2)))
        self._sample = Reservoir(max(sample_size, block_points), n_features, half_life_points)

    @property
    def started(self) -> bool:
        """Whether the first block was learned, so that there are centres."""
        return len(self.centres) > 0

    def centres_by_id(self) -> dict[int, Points]:
        """The centres that win points, float64[F] each, by id."""
        live = self._live_slots()
        return dict(zip(self.ids[live].tolist(), self.centres[live], strict=True))

    def learn(self, points: Points) -> None:
        """Learn points [n, F] in their order. ValueError for another F, or a value not finite."""
        validate(points, self.n_features)
        for block in self._blocks.push(points):
            self._learn_block(block)

    def predict(self, points: Points) -> NDArray[np.int64]:
        """The id of the nearest centre for points [n, F] -> int64[n], NO_ROW before the start."""
        return self.assign(points)[0]

    def assign(self, points: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """As `predict`, and the squared distance to that centre, float64[n], nan before the start."""
        if not self.started:
            return np.full(len(points), NO_ROW), np.full(len(points), np.nan)
        slots = self._nearest_slots(points)
        return self.ids[slots], kmeans.squared_distances(points, self.centres[slots])

    def take_errors(self) -> list[float]:
        """Mean squared distances to the centre of the blocks learned since this was asked last."""
        errors, self._errors = self._errors, []
        return errors

    def take_retired(self) -> list[tuple[int, int]]:
        """The ids that ended since this was asked last, each with the one that goes on for it."""
        retired, self._retired = self._retired, []
        return retired

    def request_review(self) -> None:
        """Review with the next block: there is reason to believe that something has changed."""
        self._review_at = self.seen

    def rescale(self, factor: Points, shift: Points) -> None:
        """Express all that is remembered in other units: x becomes x * factor + shift, each [F]."""
        for points in (self.centres, self._sample.points, self._blocks.buffered):
            points *= factor
            points += shift

    def add_features(self, n_features: int) -> None:
        """Make room for more features; they were 0 so far."""
        if n_features > self.n_features:
            padding = ((0, 0), (0, n_features - self.n_features))
            self._blocks.add_features(n_features)
            self.centres = np.pad(self.centres, padding)
            self._sample.add_features(n_features)
            self.n_features = n_features

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The whole state as named arrays, copies, for a snapshot."""
        return {**{name: rows.copy() for name, rows in self.sample().items()}, **self.scalars()}

    def sample(self) -> dict[str, NDArray[Any]]:
        """The part of `arrays` that is the sample, as views."""
        return {"sample": self._sample.points, "sample_keys": self._sample.keys}

    def scalars(self) -> dict[str, NDArray[Any]]:
        """The rest of `arrays`, copies."""
        return {
            "waiting": self._blocks.buffered.copy(),
            "centres": self.centres.copy(),
            "counts": self.counts.copy(),
            "ids": self.ids.copy(),
            "sample_bar": np.array([self._sample.threshold]),
            "clock": np.array([self.seen, self._review_at, self.reviews, self.next_id]),
            "inertia": np.array([self.inertia]),
            "tried": np.array(self.count_scores).reshape(-1, 3),
            **self._patience.scalars(),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of a model of the same features.

        Where that has another number of centres than may be, the next review takes one that may.
        """
        self.centres = arrays["centres"].copy()
        self.n_features = self.centres.shape[1]
        self.counts = arrays["counts"].copy()
        self._blocks.restore(arrays["waiting"])
        self._sample.restore(
            arrays["sample"], arrays["sample_keys"], float(arrays["sample_bar"][0])
        )
        self.seen, self._review_at, *more = arrays["clock"].tolist()
        # The first releases numbered the centres.
        self.reviews, self.next_id = more or (1, len(self.counts))
        self.ids = arrays.get("ids", np.arange(len(self.counts))).copy()
        self.inertia = float(arrays["inertia"][0])
        count_scores = arrays.get("tried", np.empty((0, 3))).tolist()
        self.count_scores = [
            CountScore(int(k), score, inertia) for k, score, inertia in count_scores
        ]
        self._patience.restore(arrays)
        if self.started and len(self.centres) not in self.allowed_counts:
            self.request_review()

    def _learn_block(self, points: Points) -> None:
        # Chance depends on the place in the stream alone: there is no generator to be stored.
        rng = np.random.default_rng((self.seed, self.seen))
        self._sample.offer(points, self.seen, rng)
        self.seen += len(points)
        if not self.started:
            self._start(rng)
            return
        self._move_centres(points)
        if self.counts.min() < CENTRE_WEIGHT_MIN:
            self._retire_dead(rng)
        if self.seen >= self._review_at:
            self._review(rng)

    def _live_slots(self) -> NDArray[np.intp]:
        """The centres that win points."""
        return np.flatnonzero(self.counts >= CENTRE_WEIGHT_MIN)

    def _nearest_slots(self, points: Points) -> NDArray[np.intp]:
        """The living centre that is nearest to each point."""
        live = self._live_slots()
        return live[kmeans.nearest(points, self.centres[live])]

    def _start(self, rng: np.random.Generator) -> None:
        sample = self._sample.points
        trials = [
            min(self._fresh_starts(k, rng), key=lambda centres: kmeans.inertia(sample, centres))
            for k in self.allowed_counts
        ]
        best = self.allowed_counts[0]
        if len(trials) > 1:
            self.count_scores = self._evaluate(trials)
            best = cluster_count.select_count(self.count_scores).k
        self.centres = trials[best - self.allowed_counts[0]]
        self.ids = self.next_id + np.arange(best)
        self.next_id += best
        labels = kmeans.nearest(sample, self.centres)
        self.counts = np.bincount(labels, minlength=best).astype(np.float64)
        self.inertia = kmeans.inertia(sample, self.centres) / len(sample)
        self._schedule_review()

    def _move_centres(self, points: Points) -> None:
        slots = self._nearest_slots(points)
        error = float(kmeans.squared_distances(points, self.centres[slots]).mean())
        self._errors.append(error)
        self.inertia += (error - self.inertia) / min(
            self.seen // self.block_points, INERTIA_OVER_BLOCKS
        )
        if self.half_life_points is not None:
            self.counts *= 0.5 ** (len(points) / self.half_life_points)
        sums, sizes = kmeans.sums_by_label(points, slots, len(self.centres))
        self.counts += sizes
        won = sizes > 0
        pull = sums[won] - sizes[won, None] * self.centres[won]
        self.centres[won] += pull / self.counts[won, None]

    def _retire_dead(self, rng: np.random.Generator) -> None:
        """Do without a dead centre where there may be fewer; else re-seed it."""
        while len(self.centres) > self.allowed_counts[0] and self.counts.min() < CENTRE_WEIGHT_MIN:
            dead = int(self.counts.argmin())
            self._retire(int(dead))
            remaining = np.arange(len(self.ids)) != dead
            self.centres, self.counts = self.centres[remaining], self.counts[remaining]
            self.ids = self.ids[remaining]
        if self.counts.min() < CENTRE_WEIGHT_MIN:
            self._reseed(rng)

    def _reseed(self, rng: np.random.Generator) -> None:
        """Give each dead centre to a far point of the sample, drawn by squared distance."""
        sample = self._sample.points
        for dead in np.flatnonzero(self.counts < CENTRE_WEIGHT_MIN):
            targets = self.centres[self._nearest_slots(sample)]
            gaps = kmeans.squared_distances(sample, targets)
            gaps[gaps <= ROUNDING * np.einsum("nf,nf->n", sample, sample)] = 0.0
            edges = np.cumsum(gaps)
            if edges[-1] == 0.0:  # fewer distinct points than centres: it stays dead
                return
            self._retire(int(dead))
            index = np.searchsorted(edges, rng.random() * edges[-1], side="right")
            self.centres[dead] = sample[min(int(index), len(sample) - 1)]
            self.counts[dead] = 1.0
            self.ids[dead], self.next_id = self.next_id, self.next_id + 1

    def _retire(self, dead: int) -> None:
        """The group of a dead centre is no more; the nearest one goes on for it."""
        replacement = self._nearest_slots(self.centres[dead : dead + 1])[0]
        self._retired.append((int(self.ids[dead]), int(self.ids[replacement])))

    def _review(self, rng: np.random.Generator) -> None:
        """Look whether another number of centres, or other centres, are clearly better."""
        is_settled = True
        if len(self.allowed_counts) > 1 or len(self.centres) not in self.allowed_counts:
            is_settled = self._review_count(rng)
        if is_settled:
            self._review_centres(rng)
        self._schedule_review()

    def _review_count(self, rng: np.random.Generator) -> bool:
        """Try every number of centres, from fresh starts; take what has long been better.

        Whether nothing was better.
        """
        sample = self._evaluation_sample()
        fits = [
            kmeans.lloyd(sample, kmeans.kmeans_plus_plus(sample, number, rng), ROUNDS_MAX)
            for number in self.allowed_counts
        ]
        current, *self.count_scores = self._evaluate([self.centres, *fits])
        best = cluster_count.select_count(self.count_scores)
        if current.k in self.allowed_counts:
            is_better = best.silhouette >= current.silhouette + cluster_count.SILHOUETTE_GAIN_MIN
            if not self._patience.confirm(best.k if is_better else None):
                return not is_better
        centres = fits[best.k - self.allowed_counts[0]]
        self._accept(kmeans.lloyd(self._sample.points, centres, ROUNDS_MAX))
        return False

    def _review_centres(self, rng: np.random.Generator) -> None:
        """Batch k-means on the sample; adopt what is clearly better."""
        sample = self._sample.points
        best = float(
            kmeans.squared_distances(sample, self.centres[self._nearest_slots(sample)]).sum()
        )
        better = None
        # Where the number is free, its review tries fresh starts, with more patience.
        restarts = (
            () if len(self.allowed_counts) > 1 else self._fresh_starts(len(self.centres), rng)
        )
        for centres in (kmeans.lloyd(sample, self.centres, ROUNDS_MAX), *restarts):
            inertia = kmeans.inertia(sample, centres)
            if inertia < INERTIA_RATIO_MAX * best:
                best, better = inertia, centres
        if better is not None:
            self._accept(better)

    def _evaluation_sample(self) -> Points:
        """Points of the sample on which numbers of centres are compared."""
        sample = self._sample.points
        return sample[:: -(-len(sample) // EVALUATED_POINTS)]

    def _evaluate(self, centre_sets: list[Points]) -> list[CountScore]:
        """How good each of some sets of centres is on the sample."""
        sample = self._evaluation_sample()
        labels = [kmeans.nearest(sample, centres) for centres in centre_sets]
        scores = cluster_quality.silhouettes(sample, labels)
        return [
            CountScore(len(centres), score, kmeans.inertia(sample, centres))
            for centres, score in zip(centre_sets, scores, strict=True)
        ]

    def _accept(self, centres: Points) -> None:
        """Take centres over; groups of the sample's points that go on keep their ids."""
        sample, ids = self._sample.points, self.ids
        old, new = self._nearest_slots(sample), kmeans.nearest(sample, centres)
        continued = kmeans.match_labels(old, new, len(ids), len(centres))
        is_new = continued == NO_ROW
        new_ids = np.where(is_new, 0, ids[continued])
        new_ids[is_new] = self.next_id + np.arange(is_new.sum())
        self.next_id += int(is_new.sum())
        shared = np.bincount(old * len(centres) + new, minlength=len(ids) * len(centres))
        replacements = new_ids[shared.reshape(len(ids), len(centres)).argmax(axis=1)]
        self._retired += [
            (int(old_id), int(replacement))
            for old_id, replacement in zip(ids, replacements, strict=True)
            if old_id not in new_ids
        ]
        shares = np.bincount(new, minlength=len(centres)) / len(new)
        by_id = new_ids.argsort()
        self.counts = (shares * self.counts.sum())[by_id]
        self.centres, self.ids = centres[by_id], new_ids[by_id]

    def _fresh_starts(self, k: int, rng: np.random.Generator) -> Iterator[Points]:
        sample = self._sample.points
        for _ in range(RESTARTS):
            yield kmeans.lloyd(sample, kmeans.kmeans_plus_plus(sample, k, rng), ROUNDS_MAX)

    def _schedule_review(self) -> None:
        self.reviews += 1
        # What is waited for comes soon.
        samples = 1 if self._patience.proposed else REVIEW_EVERY_SAMPLES
        spacing = min((REVIEW_GROWTH - 1) * self.seen, samples * self._sample.size)
        self._review_at = self.seen + int(spacing)
