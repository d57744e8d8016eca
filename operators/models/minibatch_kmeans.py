"""k-means that learns in one pass, in blocks of points, on plain arrays.

To be changed by measurement only: `python -m benchmarks.clusters` compares it with batch k-means.
The names of the arrays in `arrays` are stored; everything else is free.

Oracle: scikit-learn's batch `KMeans`. The inertia after one pass is within a few percent of it. River's
`cluster.KMeans` learns point by point and has no such bound.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.models import kmeans, kmeans_review
from operators.models.base import Clusterer
from operators.models.cluster_count import SILHOUETTE_GAIN_MIN, select_count
from operators.models.cluster_ids import carry_ids, find_replacements, match_labels
from operators.models.reservoir import Reservoir
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Points = NDArray[np.float64]

ROUNDING = 1e-24
"""A squared distance below this share of a point's own square is the rounding of a mean."""

CENTRE_WEIGHT_MIN = 0.5
"""A centre that remembers fewer points than this (after decay) is dead: no point is assigned to it."""

REVIEW_GROWTH = 1.5
REVIEW_EVERY_SAMPLES = 32


class MiniBatchKMeans(Clusterer):
    """Mini-batch k-means (Sculley 2010, "Web-scale k-means clustering") with a sample for restarts.

    A block moves each centre to the mean of all points that were assigned to it (with
    `half_life_points`, of the recent ones). The first block starts the centres by k-means++. A bounded
    sample of the stream is kept. At growing intervals a review runs batch k-means on it, from the
    present centres and from fresh starts, and accepts a clearly better result (`kmeans_review`).

    Where the number of centres may be chosen (`n_clusters` is a range), a review also tries every number
    on the sample; one that is clearly better in three reviews in a row is accepted.

    Accepted centres keep the ids of the groups that they continue (`cluster_ids`). A group that did not
    exist gets a new id. A group that ended is retired in favour of the one that most of its points
    are in now (`take_retired`). So is a dead centre, which is re-seeded far from the others, or left
    out where there may be fewer.

    Memory: (sample_points + block_points + k) * F numbers.

    Parameters
    ----------
    n_clusters
        Number of centres, at most 2**15, or the smallest and the largest number.
    n_features
        Features that are known beforehand, named 0, 1, ...
    half_life_points
        After so many points an old one counts half; None never forgets.
    block_points
        Points that are learned together. Before the first block every id is NO_ROW, -1.
    sample_points
        Points kept for restarts, never more than are remembered.
    seed
        Same seed and same points, same centres.

    Examples
    --------
    >>> model = MiniBatchKMeans(n_clusters=2, block_points=4)
    >>> for x in (0.0, 10.0, 1.0, 11.0):
    ...     model.learn_one({"x": x})
    >>> sorted(centre["x"] for centre in model.centers.values())
    [0.5, 10.5]
    >>> model.predict_one({"x": 2.0}) == model.predict_one({"x": -3.0})
    True
    """

    algorithm = "mini-batch k-means"

    def __init__(
        self,
        n_clusters: int | tuple[int, int] = 8,
        n_features: int = 0,
        half_life_points: float | None = None,
        block_points: int = 256,
        sample_points: int = 4096,
        seed: int = 0,
    ) -> None:
        super().__init__(n_features, block_points, seed)
        smallest, largest = (n_clusters, n_clusters) if isinstance(n_clusters, int) else n_clusters
        self.allowed_counts = range(smallest, largest + 1)
        self.n_clusters = n_clusters
        self.sample_points = sample_points
        self.half_life_points = half_life_points
        self.counts = np.zeros(0)
        """Points each centre remembers, float64[k]."""
        self.centres: Points = np.empty((0, n_features))
        """Where the centres are, float64[k, F]; no rows before the first block."""
        self.ids = np.zeros(0, np.int64)
        """The id of each centre, int64[k]."""
        sample_size = sample_points
        if half_life_points is not None:
            sample_size = min(sample_points, int(half_life_points / math.log(2)))
        self._sample = Reservoir(max(sample_size, block_points), n_features, half_life_points)

    @property
    def started(self) -> bool:
        """Whether the first block was learned, so that there are centres."""
        return len(self.centres) > 0

    def centres_by_id(self) -> dict[int, Points]:
        """The live centres, float64[F] each, by id."""
        live = self._live_slots()
        return dict(zip(self.ids[live].tolist(), self.centres[live], strict=True))

    def assign(self, points: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The id of the nearest centre, int64[n], and the squared distance to it, float64[n]; NO_ROW
        and nan before the start."""
        if not self.started:
            return np.full(len(points), NO_ROW), np.full(len(points), np.nan)
        slots = self._nearest_slots(points)
        return self.ids[slots], kmeans.squared_distances(points, self.centres[slots])

    def request_review(self) -> None:
        """Review with the next block: something may have changed."""
        self._review_at = self.seen

    def rescale(self, factor: Points, shift: Points) -> None:
        """Convert all that is remembered to other units: x becomes x * factor + shift, each [F]."""
        for points in (self.centres, self._sample.points, self._blocks.buffered):
            points *= factor
            points += shift

    def sample(self) -> dict[str, NDArray[Any]]:
        """The sample, as views."""
        return {"sample": self._sample.points, "sample_keys": self._sample.keys}

    def scalars(self) -> dict[str, NDArray[Any]]:
        """The rest of the state, copied."""
        return {
            "waiting": self._blocks.buffered.copy(),
            "centres": self.centres.copy(),
            "counts": self.counts.copy(),
            "ids": self.ids.copy(),
            "sample_bar": np.array([self._sample.threshold]),
            "clock": np.array([self.seen, self._review_at, self.reviews, self.next_id]),
            **self._shared_scalars(),
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave, of a model of the same features.

        If that has a number of centres that is not allowed now, the next review takes one that is.
        """
        self._restore_shared(arrays)
        self.centres = arrays["centres"].copy()
        self.counts = arrays["counts"].copy()
        self._sample.restore(
            arrays["sample"], arrays["sample_keys"], float(arrays["sample_bar"][0])
        )
        self.seen, self._review_at, *later_fields = arrays["clock"].tolist()
        # The first releases had no ids: a centre's position was its number.
        self.reviews, self.next_id = later_fields or (1, len(self.counts))
        self.ids = arrays.get("ids", np.arange(len(self.counts))).copy()
        if self.started and len(self.centres) not in self.allowed_counts:
            self.request_review()

    def _extend(self, n_features: int) -> None:
        self._blocks.add_features(n_features)
        self.centres = np.pad(self.centres, ((0, 0), (0, n_features - self.centres.shape[1])))
        self._sample.add_features(n_features)

    def _learn_block(self, points: Points) -> None:
        # Seeded by the position in the stream: no generator has to be stored.
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
        """The positions of the centres that are not dead."""
        return np.flatnonzero(self.counts >= CENTRE_WEIGHT_MIN)

    def _nearest_slots(self, points: Points) -> NDArray[np.intp]:
        """The position of the live centre that is nearest to each point."""
        live = self._live_slots()
        return live[kmeans.nearest(points, self.centres[live])]

    def _start(self, rng: np.random.Generator) -> None:
        sample = self._sample.points
        self.centres, scores = kmeans_review.choose_start(sample, self.allowed_counts, rng)
        if scores:
            self.count_scores = scores
        k = len(self.centres)
        self.ids, self.next_id = carry_ids(np.full(k, NO_ROW), self.ids, self.next_id)
        labels = kmeans.nearest(sample, self.centres)
        self.counts = np.bincount(labels, minlength=k).astype(np.float64)
        self.inertia = kmeans.inertia(sample, self.centres) / len(sample)
        self._schedule_review()

    def _move_centres(self, points: Points) -> None:
        slots = self._nearest_slots(points)
        self._add_error(float(kmeans.squared_distances(points, self.centres[slots]).mean()))
        if self.half_life_points is not None:
            self.counts *= 0.5 ** (len(points) / self.half_life_points)
        sums, sizes = kmeans.sums_by_label(points, slots, len(self.centres))
        self.counts += sizes
        won = sizes > 0
        pull = sums[won] - sizes[won, None] * self.centres[won]
        self.centres[won] += pull / self.counts[won, None]

    def _retire_dead(self, rng: np.random.Generator) -> None:
        """Remove dead centres where there may be fewer; re-seed the others."""
        while len(self.centres) > self.allowed_counts[0] and self.counts.min() < CENTRE_WEIGHT_MIN:
            dead = int(self.counts.argmin())
            self._retire(dead)
            remaining = np.arange(len(self.ids)) != dead
            self.centres, self.counts = self.centres[remaining], self.counts[remaining]
            self.ids = self.ids[remaining]
        if self.counts.min() < CENTRE_WEIGHT_MIN:
            self._reseed(rng)

    def _reseed(self, rng: np.random.Generator) -> None:
        """Move each dead centre to a far point of the sample, drawn by squared distance."""
        sample = self._sample.points
        for dead in np.flatnonzero(self.counts < CENTRE_WEIGHT_MIN):
            targets = self.centres[self._nearest_slots(sample)]
            far = kmeans.draw_far_point(sample, targets, rng, ROUNDING)
            if far is None:  # fewer distinct points than centres: the centre remains dead
                return
            self._retire(int(dead))
            self.centres[dead], self.counts[dead] = far, 1.0
            self.ids[dead], self.next_id = self.next_id, self.next_id + 1

    def _retire(self, dead: int) -> None:
        """Retire the id of a dead centre; the nearest live one replaces it."""
        replacement = self._nearest_slots(self.centres[dead : dead + 1])[0]
        self._retired.append((int(self.ids[dead]), int(self.ids[replacement])))

    def _review(self, rng: np.random.Generator) -> None:
        """Look for a clearly better number of centres, then for clearly better centres."""
        may_improve = True
        if len(self.allowed_counts) > 1 or len(self.centres) not in self.allowed_counts:
            may_improve = self._review_count(rng)
        if may_improve:
            self._review_centres(rng)
        self._schedule_review()

    def _review_count(self, rng: np.random.Generator) -> bool:
        """Try every number of centres; accept one that was better in three reviews in a row.

        Returns whether no number was better.
        """
        sample = self._sample.points
        review = kmeans_review.review_counts(sample, self.centres, self.allowed_counts, rng)
        current, self.count_scores, fits = review
        best = select_count(self.count_scores)
        if current.k in self.allowed_counts:
            is_better = best.silhouette >= current.silhouette + SILHOUETTE_GAIN_MIN
            if not self._patience.confirm(best.k if is_better else None):
                return not is_better
        centres = fits[best.k - self.allowed_counts[0]]
        self._accept(kmeans.lloyd(sample, centres, kmeans_review.ROUNDS_MAX))
        return False

    def _review_centres(self, rng: np.random.Generator) -> None:
        """Accept clearly better centres for the same number."""
        sample = self._sample.points
        targets = self.centres[self._nearest_slots(sample)]
        inertia = float(kmeans.squared_distances(sample, targets).sum())
        # Where the number may change, `_review_count` tries fresh starts, with more patience.
        restarts = 0 if len(self.allowed_counts) > 1 else kmeans_review.RESTARTS
        better = kmeans_review.find_better_centres(sample, self.centres, inertia, restarts, rng)
        if better is not None:
            self._accept(better)

    def _accept(self, centres: Points) -> None:
        """Replace the centres; a group of the sample's points that continues keeps its id."""
        sample, ids = self._sample.points, self.ids
        old, new = self._nearest_slots(sample), kmeans.nearest(sample, centres)
        continued = match_labels(old, new, len(ids), len(centres))
        new_ids, self.next_id = carry_ids(continued, ids, self.next_id)
        self._retired += find_replacements(old, new, ids, new_ids)
        shares = np.bincount(new, minlength=len(centres)) / len(new)
        by_id = new_ids.argsort()
        self.counts = (shares * self.counts.sum())[by_id]
        self.centres, self.ids = centres[by_id], new_ids[by_id]

    def _schedule_review(self) -> None:
        self.reviews += 1
        # Sooner while a new number of centres waits for its confirmation.
        samples = 1 if self._patience.proposed else REVIEW_EVERY_SAMPLES
        spacing = min((REVIEW_GROWTH - 1) * self.seen, samples * self._sample.size)
        self._review_at = self.seen + int(spacing)
