"""k-means that learns in one pass, in blocks of points, on plain arrays.

To be changed by measurement only: `python -m benchmarks.clusters` compares it with batch k-means.
The names of the arrays in `arrays` are stored; everything else is free.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.learners import kmeans
from operators.learners.reservoir import Reservoir
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

LARGEST = 1e100
"""Features must be smaller than this in size, so that their squares have room."""

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
stand, polished, then fresh ones, which may give ids to other groups, against the polished ones."""


def check(points: NDArray[np.float64], n_features: int) -> None:
    """ValueError where points are not [n, n_features] or a value is not finite."""
    if points.shape[1:] != (n_features,):
        raise ValueError(f"expected {n_features} features, got an array {points.shape}")
    if not (np.abs(points) < LARGEST).all():
        raise ValueError(f"features must be finite numbers below {LARGEST:g}")


class BlockKMeans:
    """Mini-batch k-means (Sculley 2010, "Web-scale k-means clustering") with a memory for restarts.

    Points wait until `block_points` are together. A block moves each centre to the mean of all
    points it ever won (with `half_life_points`, of the recent ones), so the result does not depend
    on how the points were cut into calls. The first block starts the centres by k-means++.
    Beside them a bounded sample of the stream is kept. At growing intervals batch k-means runs on
    it, from the centres as they are and from fresh starts; a clearly better result is adopted, ids
    matched so that most points keep theirs. An id therefore means the same group for as long as
    its `generation` stays; that rises when the id was given to other points: a dead centre
    re-seeded far from the others, or an adopted one that shares less than half of its points.

    n_clusters: k, at most 2**15. half_life_points: after so many points an old one counts half,
    None never forgets. sample_points: the size of the sample, never more than is remembered.
    Memory: (sample_points + block_points + k) * F numbers. Same seed, same points, same centres.
    """

    def __init__(
        self,
        n_clusters: int,
        n_features: int,
        half_life_points: float | None = None,
        block_points: int = 256,
        sample_points: int = 4096,
        seed: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.n_features = n_features
        self.half_life_points = half_life_points
        self.block_points = block_points
        self.seed = seed
        self.seen = 0
        """Points learned so far, without those that still wait for their block."""
        self.counts = np.zeros(n_clusters)
        """Points each centre remembers, float64[k]."""
        self.generation = np.zeros(n_clusters, np.int64)
        """How often each id was given to another group, int64[k]."""
        self.centres: NDArray[np.float64] = np.empty((0, n_features))
        """Where the centres are, float64[k, F]; no rows before the first block."""
        self.inertia = math.nan
        """Mean squared distance of a point to its centre just before it was learned, over about
        the last 32 blocks."""
        self._waiting: NDArray[np.float64] = np.empty((block_points, n_features))
        self._waits = 0
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

    @property
    def living(self) -> NDArray[np.intp]:
        """The ids that win points."""
        if not self.started:
            return np.empty(0, np.intp)
        return np.flatnonzero(self.counts >= REMEMBERS_AT_LEAST)

    def learn(self, points: NDArray[np.float64]) -> None:
        """Learn points [n, F] in their order. ValueError for another F, or a value not finite."""
        check(points, self.n_features)
        start = 0
        while start < len(points):
            if not self._waits and len(points) - start >= self.block_points:
                self._learn_block(points[start : start + self.block_points])
                start += self.block_points
                continue
            taken = points[start : start + self.block_points - self._waits]
            self._waiting[self._waits : self._waits + len(taken)] = taken
            self._waits += len(taken)
            start += len(taken)
            if self._waits == self.block_points:
                self._waits = 0
                self._learn_block(self._waiting)

    def predict(self, points: NDArray[np.float64]) -> NDArray[np.intp]:
        """The id of the nearest centre for points [n, F] -> intp[n], NOBODY before the start."""
        if not self.started:
            return np.full(len(points), NOBODY, np.intp)
        living = self.living
        return living[kmeans.nearest(points, self.centres[living])]

    def take_errors(self) -> list[float]:
        """Mean squared distances to the centre of the blocks learned since this was asked last."""
        errors, self._errors = self._errors, []
        return errors

    def rescale(self, factor: NDArray[np.float64], shift: NDArray[np.float64]) -> None:
        """Express all that is remembered in other units: x becomes x * factor + shift, each [F]."""
        for points in (self.centres, self._sample.points, self._waiting[: self._waits]):
            points *= factor
            points += shift

    def widen(self, n_features: int) -> None:
        """Make room for more features; they were 0 so far."""
        if n_features > self.n_features:
            more = ((0, 0), (0, n_features - self.n_features))
            self._waiting = np.pad(self._waiting, more)
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
            "waiting": self._waiting[: self._waits].copy(),
            "centres": self.centres.copy(),
            "counts": self.counts.copy(),
            "generation": self.generation.copy(),
            "sample_bar": np.array([self._sample.bar]),
            "clock": np.array([self.seen, self._review_at]),
            "inertia": np.array([self.inertia]),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of a model made with the same arguments."""
        if len(arrays["counts"]) != self.n_clusters:
            raise ValueError(f"a state of {len(arrays['counts'])} clusters, not {self.n_clusters}")
        self.centres = arrays["centres"].copy()
        self.n_features = self.centres.shape[1]
        self.counts, self.generation = arrays["counts"].copy(), arrays["generation"].copy()
        self._waiting = np.empty((self.block_points, self.n_features))
        self._waits = len(arrays["waiting"])
        self._waiting[: self._waits] = arrays["waiting"]
        self._sample.restore(
            arrays["sample"], arrays["sample_keys"], float(arrays["sample_bar"][0])
        )
        self.seen, self._review_at = arrays["clock"].tolist()
        self.inertia = float(arrays["inertia"][0])

    def _learn_block(self, points: NDArray[np.float64]) -> None:
        # Chance depends on the place in the stream alone: there is no generator to be stored.
        rng = np.random.default_rng((self.seed, self.seen))
        self._sample.offer(points, self.seen, rng)
        self.seen += len(points)
        if not self.started:
            self._start(rng)
            return
        self._move(points)
        if self.counts.min() < REMEMBERS_AT_LEAST:
            self._reseed(rng)
        if self.seen >= self._review_at:
            self._review(rng)

    def _start(self, rng: np.random.Generator) -> None:
        sample = self._sample.points
        self.centres = min(self._fresh(rng), key=lambda centres: kmeans.inertia(sample, centres))
        labels = kmeans.nearest(sample, self.centres)
        self.counts = np.bincount(labels, minlength=self.n_clusters).astype(np.float64)
        self.inertia = kmeans.inertia(sample, self.centres) / len(sample)
        self._plan_review()

    def _move(self, points: NDArray[np.float64]) -> None:
        labels = self.predict(points)
        error = float(kmeans.squared_distances(points, self.centres[labels]).mean())
        self._errors.append(error)
        self.inertia += (error - self.inertia) / min(
            self.seen // self.block_points, INERTIA_OVER_BLOCKS
        )
        if self.half_life_points is not None:
            self.counts *= 0.5 ** (len(points) / self.half_life_points)
        sums, sizes = kmeans.sums_by_label(points, labels, self.n_clusters)
        self.counts += sizes
        won = sizes > 0
        pull = sums[won] - sizes[won, None] * self.centres[won]
        self.centres[won] += pull / self.counts[won, None]

    def _reseed(self, rng: np.random.Generator) -> None:
        """Give each dead centre to a far point of the sample, drawn by squared distance."""
        sample = self._sample.points
        for dead in np.flatnonzero(self.counts < REMEMBERS_AT_LEAST):
            targets = self.centres[self.predict(sample)]
            gaps = kmeans.squared_distances(sample, targets)
            gaps[gaps <= ROUNDING * np.einsum("nf,nf->n", sample, sample)] = 0.0
            edges = np.cumsum(gaps)
            if edges[-1] == 0.0:  # fewer distinct points than centres: it stays dead
                return
            at = np.searchsorted(edges, rng.random() * edges[-1], side="right")
            self.centres[dead] = sample[min(int(at), len(sample) - 1)]
            self.counts[dead] = 1.0
            self.generation[dead] += 1

    def _review(self, rng: np.random.Generator) -> None:
        """Batch k-means on the sample; adopt what is clearly better."""
        self._plan_review()
        sample = self._sample.points
        old = self.predict(sample)
        best = float(kmeans.squared_distances(sample, self.centres[old]).sum())
        found = None
        for centres in (kmeans.lloyd(sample, self.centres, ROUNDS_MAX), *self._fresh(rng)):
            left = kmeans.inertia(sample, centres)
            if left < CLEARLY_BETTER * best:
                best, found = left, centres
        if found is not None:
            self._adopt(found, old)

    def _adopt(self, centres: NDArray[np.float64], old: NDArray[np.intp]) -> None:
        """Take centres over, ids by the labels `old` the points of the sample had so far."""
        new = kmeans.nearest(self._sample.points, centres)
        order, same = kmeans.matched(old, new, self.n_clusters)
        shares = np.bincount(new, minlength=self.n_clusters)[order] / len(new)
        self.centres = centres[order]
        self.counts = shares * self.counts.sum()
        self.generation += ~same

    def _fresh(self, rng: np.random.Generator) -> Iterator[NDArray[np.float64]]:
        sample = self._sample.points
        for _ in range(RESTARTS):
            start = kmeans.spread_out(sample, self.n_clusters, rng)
            yield kmeans.lloyd(sample, start, ROUNDS_MAX)

    def _plan_review(self) -> None:
        spacing = min((REVIEW_GROWTH - 1) * self.seen, REVIEW_EVERY_SAMPLES * self._sample.size)
        self._review_at = self.seen + int(spacing)
