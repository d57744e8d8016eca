"""Any clusterer of River in the place of ours: its labels become ids that stay.

River's labels may be numbered anew whenever the estimator learns. So shoppers are assigned by a copy,
which a review at growing intervals replaces by the estimator as it is then; ids go to the new labels so
that most points of a sample keep theirs (`cluster_ids`). Between reviews nobody changes cluster because
the estimator learned, and predictions never change what it learns. The names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.events.processing_errors import FATAL_ERRORS
from operators.models import kmeans
from operators.models.base import Clusterer
from operators.models.cluster_ids import carry_ids, find_replacements, match_labels
from operators.models.reservoir import Reservoir
from operators.models.river.stored_estimator import StoredEstimator
from operators.tables.table import Table, add_prefix, strip_prefix
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.events.processing_errors import ProcessingErrors
    from operators.tables.table import Arrays

    Points = NDArray[np.float64]
    Indices = NDArray[np.intp]

FIRST_REVIEW_POINTS = 256
REVIEW_GROWTH = 1.5
REVIEW_EVERY_POINTS = 4096
SAMPLE_POINTS = 512
JUDGED_EVERY = 4
"""Of a block every so manyth point tells how far points are from their clusters."""
GROUPS_MAX = 64
GROUP_SHARE_MIN = 0.005
"""A label must have this share of the sample; the points of a rarer one, and of labels beyond
`GROUPS_MAX`, belong to the cluster with the nearest mean."""


class NamedClusterer(Clusterer):
    """A clusterer of River: `estimator`, as `expression` named it. Points are learned one by one.

    Its features are numbered from 0. A centre is the mean of the points of a label in the sample.
    """

    def __init__(
        self,
        estimator: Any,
        expression: str,
        n_features: int,
        errors: ProcessingErrors,
        half_life_points: float | None = None,
        block_points: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__(n_features, block_points, seed)
        self.algorithm = expression
        self._processing_errors = errors
        self._learning = StoredEstimator(
            estimator, expression, n_features, _learn, errors, "clusters_estimator"
        )
        self._assigning: Any = None
        self._sample = Reservoir(SAMPLE_POINTS, n_features, half_life_points)
        self._labels = np.zeros(0, np.int64)
        self._ids = np.zeros(0, np.int64)
        self._means: Points = np.empty((0, n_features))
        self._review_at = FIRST_REVIEW_POINTS

    @property
    def started(self) -> bool:
        """Whether there are groups."""
        return len(self._ids) > 0

    @property
    def failures(self) -> int:
        """Points that the estimator could not learn."""
        return self._learning.failed_blocks

    def centres_by_id(self) -> dict[int, Points]:
        """The mean of the sampled points of each group, float64[F], by id."""
        return dict(zip(self._ids.tolist(), self._means, strict=True))

    def assign(self, points: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The id of each point's label, int64[n], and the squared distance to the mean of its group,
        float64[n]; NO_ROW and nan before there are groups."""
        if not self.started:
            return np.full(len(points), NO_ROW), np.full(len(points), np.nan)
        slots = self._slots(points, self._predict(self._assigning, points))
        return self._ids[slots], kmeans.squared_distances(points, self._means[slots])

    def request_review(self) -> None:
        """Take over what the estimator has learned, with the next block."""
        self._review_at = max(self.seen, FIRST_REVIEW_POINTS)

    def rescale(self, factor: Points, shift: Points) -> None:
        """Convert means and sample to other units. The estimator cannot be converted: it follows."""
        for points in (self._means, self._sample.points, self._blocks.buffered):
            points *= factor
            points += shift

    def sample(self) -> dict[str, NDArray[Any]]:
        """The sample, as views."""
        return {"sample": self._sample.points, "sample_keys": self._sample.keys}

    def tables(self) -> Sequence[Table]:
        """The sample, and the estimator."""
        of_estimator = (table.prefixed("named.") for table in self._learning.tables())
        return [*super().tables(), *of_estimator]

    def scalars(self) -> dict[str, NDArray[Any]]:
        """The rest of the state, copied."""
        return {
            "waiting": self._blocks.buffered.copy(),
            "labels": self._labels.copy(),
            "ids": self._ids.copy(),
            "means": self._means.copy(),
            "sample_bar": np.array([self._sample.threshold]),
            "clock": np.array([self.seen, self._review_at, self.reviews, self.next_id]),
            **add_prefix("named.", self._learning.scalars()),
            **self._shared_scalars(),
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave. Raises SnapshotError where the estimator cannot be read."""
        self._learning.restore(strip_prefix("named.", arrays))
        self._assigning = self._learning.read_saved()
        self._restore_shared(arrays)
        self._labels, self._ids = arrays["labels"].copy(), arrays["ids"].copy()
        self._means = arrays["means"].copy()
        self._sample.restore(
            arrays["sample"], arrays["sample_keys"], float(arrays["sample_bar"][0])
        )
        self.seen, self._review_at, self.reviews, self.next_id = arrays["clock"].tolist()

    def _extend(self, n_features: int) -> None:
        raise ValueError(f"the features are fixed, {n_features} are more")

    def _learn_block(self, points: Points) -> None:
        if self.started:
            squares = self.assign(points[::JUDGED_EVERY])[1]
        rng = np.random.default_rng((self.seed, self.seen))
        self._sample.offer(points, self.seen, rng)
        self.seen += len(points)
        if self.started:
            self._add_error(float(squares.mean()))
        self._learning.learn(points)
        if self.seen >= self._review_at:
            self._review()

    def _review(self) -> None:
        """Assign by the estimator as it is now; groups of the sample that continue keep their ids."""
        sample = self._sample.points.copy()
        before = None
        if self.started:
            before = self._slots(sample, self._predict(self._assigning, sample))
        self._learning.save()
        self._assigning = self._learning.read_saved()
        labels = self._predict(self._assigning, sample)
        found, counts = np.unique(labels[labels != NO_ROW], return_counts=True)
        largest = np.argsort(-counts, kind="stable")[:GROUPS_MAX]
        kept = np.sort(found[largest[counts[largest] >= GROUP_SHARE_MIN * len(sample)]])
        if len(kept):
            self._accept(sample, labels, kept, before)
        self.reviews += 1
        self._review_at = self.seen + min(int((REVIEW_GROWTH - 1) * self.seen), REVIEW_EVERY_POINTS)

    def _accept(
        self,
        sample: Points,
        labels: NDArray[np.int64],
        kept: NDArray[np.int64],
        before: Indices | None,
    ) -> None:
        members = labels == kept[:, None]
        previous_ids = self._ids
        self._means = (members @ sample) / members.sum(axis=1)[:, None]
        self._labels, self._ids = kept, np.arange(len(kept))
        after = self._slots(sample, labels)
        continued = np.full(len(kept), NO_ROW, np.intp)
        if before is not None:
            continued = match_labels(before, after, len(previous_ids), len(kept))
        self._ids, self.next_id = carry_ids(continued, previous_ids, self.next_id)
        if before is None:
            self.inertia = float(kmeans.squared_distances(sample, self._means[after]).mean())
        else:
            self._retired += find_replacements(before, after, previous_ids, self._ids)

    def _slots(self, points: Points, labels: NDArray[np.int64]) -> Indices:
        """The position of the group of each point: of its label, else of the nearest mean."""
        at = np.minimum(np.searchsorted(self._labels, labels), len(self._labels) - 1)
        unknown = self._labels[at] != labels
        if unknown.any():
            at[unknown] = kmeans.nearest(points[unknown], self._means)
        return at

    def _predict(self, estimator: Any, points: Points) -> NDArray[np.int64]:
        """The label of each point, NO_ROW where the estimator raises or has none."""
        labels = np.full(len(points), NO_ROW)
        is_recorded = False
        for index, values in enumerate(points.tolist()):
            try:
                labels[index] = int(estimator.predict_one(dict(enumerate(values))))
            except FATAL_ERRORS:
                raise
            except Exception:
                if not is_recorded:
                    self._processing_errors.record("clusters_estimator")
                is_recorded = True
        return labels


def _learn(estimator: Any, rows: list[list[float]]) -> None:
    for row in rows:
        estimator.learn_one(dict(enumerate(row)))
