"""k-means that learns in one pass, in blocks of points, on plain arrays.

To be changed by measurement only: `python -m benchmarks.clusters` compares it with batch k-means.
The names of the arrays in `arrays` are stored; everything else is free.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.models import cluster_count, cluster_quality, kmeans
from operators.models.base import check
from operators.models.block_buffer import Blocks
from operators.models.cluster_count import Patience, Tried
from operators.models.reservoir import Reservoir
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    Points = NDArray[np.float64]

ROUNDING = 1e-24
"""A squared distance below this share of a point's own square is the rounding of a mean."""

REMEMBERS_AT_LEAST = 0.5
"""A centre that remembers fewer points than this (after forgetting) is dead and wins none."""

INERTIA_OVER_BLOCKS = 32
REVIEW_GROWTH = 1.5
REVIEW_EVERY_SAMPLES = 32
RESTARTS = 3
ROUNDS_MAX = 20
CLEARLY_BETTER = 0.99
"""A review adopts centres that leave less than this share of the sample's inertia: first those that
stand, polished, then fresh ones, which may make other groups, against the polished ones."""
JUDGED_POINTS = 512
"""Numbers of clusters are compared on so many points of the sample."""


class BlockKMeans:
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
    more names the one that most of its points came to (`take_ended`). So does a dead centre, which
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
        least, most = (n_clusters, n_clusters) if isinstance(n_clusters, int) else n_clusters
        self.numbers = range(least, most + 1)
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
        self.tried: list[Tried] = []
        """What the last review said of each number of centres that may be."""
        self._patience = Patience()
        self._ended: list[tuple[int, int]] = []
        self._blocks = Blocks(block_points, n_features)
        self._review_at = 0
        self._errors: list[float] = []
        remembered = sample_points
        if half_life_points is not None:
            remembered = min(sample_points, int(half_life_points / math.log(2)))
        self._sample = Reservoir(max(remembered, block_points), n_features, half_life_points)

    @property
    def started(self) -> bool:
        """Whether the first block was learned, so that there are centres."""
        return len(self.centres) > 0

    def places(self) -> dict[int, Points]:
        """The centres that win points, float64[F] each, by id."""
        living = self._living()
        return dict(zip(self.ids[living].tolist(), self.centres[living], strict=True))

    def learn(self, points: Points) -> None:
        """Learn points [n, F] in their order. ValueError for another F, or a value not finite."""
        check(points, self.n_features)
        for block in self._blocks.take(points):
            self._learn_block(block)

    def predict(self, points: Points) -> NDArray[np.int64]:
        """The id of the nearest centre for points [n, F] -> int64[n], NOBODY before the start."""
        return self.assign(points)[0]

    def assign(self, points: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """As `predict`, and the squared distance to that centre, float64[n], nan before the start."""
        if not self.started:
            return np.full(len(points), NOBODY), np.full(len(points), np.nan)
        slots = self._nearest(points)
        return self.ids[slots], kmeans.squared_distances(points, self.centres[slots])

    def take_errors(self) -> list[float]:
        """Mean squared distances to the centre of the blocks learned since this was asked last."""
        errors, self._errors = self._errors, []
        return errors

    def take_ended(self) -> list[tuple[int, int]]:
        """The ids that ended since this was asked last, each with the one that goes on for it."""
        ended, self._ended = self._ended, []
        return ended

    def look_again(self) -> None:
        """Review with the next block: there is reason to believe that something has changed."""
        self._review_at = self.seen

    def rescale(self, factor: Points, shift: Points) -> None:
        """Express all that is remembered in other units: x becomes x * factor + shift, each [F]."""
        for points in (self.centres, self._sample.points, self._blocks.waiting):
            points *= factor
            points += shift

    def widen(self, n_features: int) -> None:
        """Make room for more features; they were 0 so far."""
        if n_features > self.n_features:
            more = ((0, 0), (0, n_features - self.n_features))
            self._blocks.widen(n_features)
            self.centres = np.pad(self.centres, more)
            self._sample.widen(n_features)
            self.n_features = n_features

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The whole state as named arrays, copies, for a snapshot."""
        return {**{name: rows.copy() for name, rows in self.sample().items()}, **self.small()}

    def sample(self) -> dict[str, NDArray[Any]]:
        """The part of `arrays` that is the sample, as views."""
        return {"sample": self._sample.points, "sample_keys": self._sample.keys}

    def small(self) -> dict[str, NDArray[Any]]:
        """The rest of `arrays`, copies."""
        return {
            "waiting": self._blocks.waiting.copy(),
            "centres": self.centres.copy(),
            "counts": self.counts.copy(),
            "ids": self.ids.copy(),
            "sample_bar": np.array([self._sample.bar]),
            "clock": np.array([self.seen, self._review_at, self.reviews, self.next_id]),
            "inertia": np.array([self.inertia]),
            "tried": np.array(self.tried).reshape(-1, 3),
            **self._patience.small(),
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
        tried = arrays.get("tried", np.empty((0, 3))).tolist()
        self.tried = [Tried(int(k), score, left) for k, score, left in tried]
        self._patience.restore(arrays)
        if self.started and len(self.centres) not in self.numbers:
            self.look_again()

    def _learn_block(self, points: Points) -> None:
        # Chance depends on the place in the stream alone: there is no generator to be stored.
        rng = np.random.default_rng((self.seed, self.seen))
        self._sample.offer(points, self.seen, rng)
        self.seen += len(points)
        if not self.started:
            self._start(rng)
            return
        self._move(points)
        if self.counts.min() < REMEMBERS_AT_LEAST:
            self._bury(rng)
        if self.seen >= self._review_at:
            self._review(rng)

    def _living(self) -> NDArray[np.intp]:
        """The centres that win points."""
        return np.flatnonzero(self.counts >= REMEMBERS_AT_LEAST)

    def _nearest(self, points: Points) -> NDArray[np.intp]:
        """The living centre that is nearest to each point."""
        living = self._living()
        return living[kmeans.nearest(points, self.centres[living])]

    def _start(self, rng: np.random.Generator) -> None:
        sample = self._sample.points
        found = [
            min(self._fresh(k, rng), key=lambda centres: kmeans.inertia(sample, centres))
            for k in self.numbers
        ]
        best = self.numbers[0]
        if len(found) > 1:
            self.tried = self._judge(found)
            best = cluster_count.best(self.tried).k
        self.centres = found[best - self.numbers[0]]
        self.ids = self.next_id + np.arange(best)
        self.next_id += best
        labels = kmeans.nearest(sample, self.centres)
        self.counts = np.bincount(labels, minlength=best).astype(np.float64)
        self.inertia = kmeans.inertia(sample, self.centres) / len(sample)
        self._plan_review()

    def _move(self, points: Points) -> None:
        slots = self._nearest(points)
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

    def _bury(self, rng: np.random.Generator) -> None:
        """Do without a dead centre where there may be fewer; else re-seed it."""
        while len(self.centres) > self.numbers[0] and self.counts.min() < REMEMBERS_AT_LEAST:
            dead = int(self.counts.argmin())
            self._end(int(dead))
            rest = np.arange(len(self.ids)) != dead
            self.centres, self.counts = self.centres[rest], self.counts[rest]
            self.ids = self.ids[rest]
        if self.counts.min() < REMEMBERS_AT_LEAST:
            self._reseed(rng)

    def _reseed(self, rng: np.random.Generator) -> None:
        """Give each dead centre to a far point of the sample, drawn by squared distance."""
        sample = self._sample.points
        for dead in np.flatnonzero(self.counts < REMEMBERS_AT_LEAST):
            targets = self.centres[self._nearest(sample)]
            gaps = kmeans.squared_distances(sample, targets)
            gaps[gaps <= ROUNDING * np.einsum("nf,nf->n", sample, sample)] = 0.0
            edges = np.cumsum(gaps)
            if edges[-1] == 0.0:  # fewer distinct points than centres: it stays dead
                return
            self._end(int(dead))
            at = np.searchsorted(edges, rng.random() * edges[-1], side="right")
            self.centres[dead] = sample[min(int(at), len(sample) - 1)]
            self.counts[dead] = 1.0
            self.ids[dead], self.next_id = self.next_id, self.next_id + 1

    def _end(self, dead: int) -> None:
        """The group of a dead centre is no more; the nearest one goes on for it."""
        heir = self._nearest(self.centres[dead : dead + 1])[0]
        self._ended.append((int(self.ids[dead]), int(self.ids[heir])))

    def _review(self, rng: np.random.Generator) -> None:
        """Look whether another number of centres, or other centres, are clearly better."""
        is_right = True
        if len(self.numbers) > 1 or len(self.centres) not in self.numbers:
            is_right = self._review_number(rng)
        if is_right:
            self._review_centres(rng)
        self._plan_review()

    def _review_number(self, rng: np.random.Generator) -> bool:
        """Try every number of centres, from fresh starts; take what has long been better.

        Whether nothing was better.
        """
        sample = self._judged()
        found = [
            kmeans.lloyd(sample, kmeans.spread_out(sample, number, rng), ROUNDS_MAX)
            for number in self.numbers
        ]
        now, *self.tried = self._judge([self.centres, *found])
        best = cluster_count.best(self.tried)
        if now.k in self.numbers:
            is_better = best.silhouette >= now.silhouette + cluster_count.CLEARLY_BETTER
            if not self._patience.is_out(best.k if is_better else None):
                return not is_better
        centres = found[best.k - self.numbers[0]]
        self._adopt(kmeans.lloyd(self._sample.points, centres, ROUNDS_MAX))
        return False

    def _review_centres(self, rng: np.random.Generator) -> None:
        """Batch k-means on the sample; adopt what is clearly better."""
        sample = self._sample.points
        best = float(kmeans.squared_distances(sample, self.centres[self._nearest(sample)]).sum())
        found = None
        # Where the number is free, its review tries fresh starts, with more patience.
        fresh = () if len(self.numbers) > 1 else self._fresh(len(self.centres), rng)
        for centres in (kmeans.lloyd(sample, self.centres, ROUNDS_MAX), *fresh):
            left = kmeans.inertia(sample, centres)
            if left < CLEARLY_BETTER * best:
                best, found = left, centres
        if found is not None:
            self._adopt(found)

    def _judged(self) -> Points:
        """Points of the sample on which numbers of centres are compared."""
        sample = self._sample.points
        return sample[:: -(-len(sample) // JUDGED_POINTS)]

    def _judge(self, found: list[Points]) -> list[Tried]:
        """How good each of some sets of centres is on the sample."""
        sample = self._judged()
        labels = [kmeans.nearest(sample, centres) for centres in found]
        scores = cluster_quality.silhouettes(sample, labels)
        return [
            Tried(len(centres), score, kmeans.inertia(sample, centres))
            for centres, score in zip(found, scores, strict=True)
        ]

    def _adopt(self, centres: Points) -> None:
        """Take centres over; groups of the sample's points that go on keep their ids."""
        sample, ids = self._sample.points, self.ids
        old, new = self._nearest(sample), kmeans.nearest(sample, centres)
        order = kmeans.continued(old, new, len(ids), len(centres))
        fresh = order == NOBODY
        own = np.where(fresh, 0, ids[order])
        own[fresh] = self.next_id + np.arange(fresh.sum())
        self.next_id += int(fresh.sum())
        shared = np.bincount(old * len(centres) + new, minlength=len(ids) * len(centres))
        heirs = own[shared.reshape(len(ids), len(centres)).argmax(axis=1)]
        self._ended += [
            (int(one), int(heir)) for one, heir in zip(ids, heirs, strict=True) if one not in own
        ]
        shares = np.bincount(new, minlength=len(centres)) / len(new)
        by_id = own.argsort()
        self.counts = (shares * self.counts.sum())[by_id]
        self.centres, self.ids = centres[by_id], own[by_id]

    def _fresh(self, k: int, rng: np.random.Generator) -> Iterator[Points]:
        sample = self._sample.points
        for _ in range(RESTARTS):
            yield kmeans.lloyd(sample, kmeans.spread_out(sample, k, rng), ROUNDS_MAX)

    def _plan_review(self) -> None:
        self.reviews += 1
        # What is waited for comes soon.
        samples = 1 if self._patience.asked else REVIEW_EVERY_SAMPLES
        spacing = min((REVIEW_GROWTH - 1) * self.seen, samples * self._sample.size)
        self._review_at = self.seen + int(spacing)
