"""What the flow asks of every model that finds clusters, and what these models share.

To add one: a subclass here beside `minibatch_kmeans.py` and `dbstream.py`, and a choice in
`operators/segments/clusters/model.py`. The names of the arrays are stored.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.models.block_buffer import BlockBuffer
from operators.models.cluster_count import CountScore, Patience
from operators.tables.table import Table, TableState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Points = NDArray[np.float64]

FEATURE_LIMIT = 1e100
"""Features must be smaller than this in size, so that their squares do not overflow."""
INERTIA_OVER_BLOCKS = 32


def validate(points: Points, n_features: int) -> None:
    """ValueError where points are not [n, n_features] or a value is not finite."""
    if points.shape[1:] != (n_features,):
        raise ValueError(f"expected {n_features} features, got an array {points.shape}")
    if not (np.abs(points) < FEATURE_LIMIT).all():
        raise ValueError(f"features must be finite numbers below {FEATURE_LIMIT:g}")


class Clusterer(TableState, ABC):
    """Finds groups in a stream of points float64[n, F]. An id means the same group for ever.

    Points are learned in blocks of `block_points`, so that the result does not depend on how they are
    cut into calls. At growing intervals a review looks at all groups.
    """

    algorithm: str
    """Its name, stored."""

    def __init__(self, n_features: int, block_points: int, seed: int) -> None:
        self.n_features = n_features
        self.block_points = block_points
        self.seed = seed
        self.seen = 0
        """Points learned so far, without those of the incomplete block."""
        self.next_id = 0
        """Above all ids there ever were."""
        self.reviews = 0
        """The number of reviews, the start included."""
        self.inertia = math.nan
        """Mean squared distance of a point to its centre just before it was learned, over about the
        last 32 blocks."""
        self.count_scores: list[CountScore] = []
        """How good the last review found other numbers of groups; empty where the number is fixed."""
        self._patience = Patience()
        self._blocks = BlockBuffer(block_points, n_features)
        self._review_at = 0
        self._errors: list[float] = []
        self._retired: list[tuple[int, int]] = []

    @property
    @abstractmethod
    def started(self) -> bool:
        """Whether there are groups."""

    @abstractmethod
    def assign(self, points: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The id of each point's group, int64[n], and the squared distance to its centre, float64[n].

        NO_ROW and nan before the start. Learns nothing.
        """

    @abstractmethod
    def centres_by_id(self) -> dict[int, Points]:
        """The centres of the groups, float64[F] each, by id."""

    @abstractmethod
    def request_review(self) -> None:
        """Review with the next block: something may have changed."""

    @abstractmethod
    def rescale(self, factor: Points, shift: Points) -> None:
        """Convert all that is remembered to other units: x becomes x * factor + shift, each [F]."""

    @abstractmethod
    def sample(self) -> dict[str, NDArray[Any]]:
        """The part of the state that changes with every block, arrays of one length, views."""

    @abstractmethod
    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave."""

    @abstractmethod
    def _learn_block(self, points: Points) -> None: ...

    def learn(self, points: Points) -> None:
        """Learn points [n, F] in their order. ValueError for another F, or a value not finite."""
        validate(points, self.n_features)
        for block in self._blocks.push(points):
            self._learn_block(block)

    def take_errors(self) -> list[float]:
        """Mean squared distances to the centre, by block, since the last call."""
        errors, self._errors = self._errors, []
        return errors

    def take_retired(self) -> list[tuple[int, int]]:
        """The ids that ended since the last call, each with the id that replaces it, or NO_ROW."""
        retired, self._retired = self._retired, []
        return retired

    def tables(self) -> Sequence[Table]:
        """The sample: every block changes most of it, so it is written whole."""
        return [Table(self.sample(), None)]

    def _add_error(self, error: float) -> None:
        """Note the mean squared distance of a block; `seen` counts the block already."""
        self._errors.append(error)
        previous = error if math.isnan(self.inertia) else self.inertia
        blocks = min(self.seen // self.block_points, INERTIA_OVER_BLOCKS)
        self.inertia = previous + (error - previous) / blocks

    def _shared_scalars(self) -> dict[str, NDArray[Any]]:
        return {
            "inertia": np.array([self.inertia]),
            "tried": np.array(self.count_scores).reshape(-1, 3),
            **self._patience.scalars(),
        }

    def _restore_shared(self, arrays: Arrays) -> None:
        self._blocks.restore(arrays["waiting"])
        self.inertia = float(arrays["inertia"][0])
        scores = arrays.get("tried", np.empty((0, 3))).tolist()
        self.count_scores = [CountScore(int(k), score, inertia) for k, score, inertia in scores]
        self._patience.restore(arrays)
