"""What the flow asks of every model that finds clusters, and what these models share.

They are River clusterers: dicts, data frames and arrays learn the same. To add one: a subclass here
beside `minibatch_kmeans.py` and `dbstream.py`, and a choice in `operators/segments/clusters/model.py`.
The names of the arrays are stored.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np
from river import base

from operators.models.block_buffer import BlockBuffer
from operators.models.cluster_count import CountScore, Patience
from operators.models.feature_columns import FeatureColumns, frames
from operators.tables.table import Table, TableState

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from narwhals.stable.v2.typing import IntoDataFrame
    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Feature = Hashable
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


class Clusterer(TableState, base.Clusterer):
    """Finds groups in a stream of points float64[n, F]. An id means the same group for ever.

    Points are learned in blocks of `block_points`, so that the result does not depend on how they are
    cut into calls. At growing intervals a review looks at all groups. `n_features`: how many features
    are known beforehand, by the names 0, 1, ...; a feature that is seen later was 0 before.
    """

    algorithm: str
    """Its name, stored."""

    def __init__(self, n_features: int, block_points: int, seed: int) -> None:
        self.n_features = n_features
        self.columns = FeatureColumns(n_features)
        """Which column each feature is in."""
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

    @abstractmethod
    def _extend(self, n_features: int) -> None:
        """Extend all points to so many features; the new ones were 0 so far."""

    @property
    def centers(self) -> dict[int, dict[Feature, float]]:
        """The centres by id, in the form that River's metrics need."""
        return {
            cluster_id: dict(zip(self.columns.names, centre.tolist(), strict=True))
            for cluster_id, centre in self.centres_by_id().items()
        }

    def learn_array(self, points: Points) -> None:
        """Learn points [n, F] in their order. ValueError for another F, or a value not finite.

        Columns are the features in the order in which they were seen first, else 0..F-1.
        """
        if not len(self.columns) and points.ndim > 1:
            self._add_features(range(points.shape[1]))
        validate(points, len(self.columns))
        for block in self._blocks.push(points):
            self._learn_block(block)

    def learn_one(self, x: dict[Feature, Any]) -> None:
        """Learn one point; a missing feature is 0. ValueError where a value is not finite."""
        self._add_features(x)
        self.learn_array(self.columns.row(x))

    def learn_many(self, X: IntoDataFrame) -> None:
        """Learn the rows of a data frame (pandas, polars, ...), columns by name."""
        frame = frames().into_frame(X)
        self._add_features(frame.columns)
        self.learn_array(self.columns.of_frame(frame))

    def predict_array(self, points: Points) -> NDArray[np.int64]:
        """The id of each point's group, points [n, F] -> int64[n], NO_ROW before the start."""
        return self.assign(points)[0]

    def predict_one(self, x: dict[Feature, Any]) -> int:
        """The id of the point's group; unknown features are ignored."""
        return int(self.predict_array(self.columns.row(x))[0])

    def predict_many(self, X: IntoDataFrame) -> Any:
        """The ids for the rows of a data frame, as a series of the same kind."""
        frame = frames().into_frame(X)
        ids = self.predict_array(self.columns.of_frame(frame))
        return frames().to_native_series(ids, name=None, like=frame)

    def _add_features(self, features: Iterable[Feature]) -> None:
        before = len(self.columns)
        self.columns.add(features)
        if len(self.columns) > before:
            self._extend(len(self.columns))

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
            "features": self.columns.array(),
            "tried": np.array(self.count_scores).reshape(-1, 3),
            **self._patience.scalars(),
        }

    def _restore_shared(self, arrays: Arrays) -> None:
        self._blocks.restore(arrays["waiting"])
        if "features" in arrays:  # not in the first releases
            self.columns.restore(arrays["features"])
        self.inertia = float(arrays["inertia"][0])
        scores = arrays.get("tried", np.empty((0, 3))).tolist()
        self.count_scores = [CountScore(int(k), score, inertia) for k, score, inertia in scores]
        self._patience.restore(arrays)
