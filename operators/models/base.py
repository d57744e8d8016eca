"""What the flow asks of whatever finds clusters, on plain arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from operators.models.cluster_count import CountScore

    Points = NDArray[np.float64]

FEATURE_LIMIT = 1e100
"""Features must be smaller than this in size, so that their squares have room."""


def validate(points: Points, n_features: int) -> None:
    """ValueError where points are not [n, n_features] or a value is not finite."""
    if points.shape[1:] != (n_features,):
        raise ValueError(f"expected {n_features} features, got an array {points.shape}")
    if not (np.abs(points) < FEATURE_LIMIT).all():
        raise ValueError(f"features must be finite numbers below {FEATURE_LIMIT:g}")


class Clusterer(Protocol):
    """Finds groups in a stream of points float64[n, F]. An id means the same group for ever.

    `algorithm` is its name, stored. `next_id` is above all ids there were; `reviews` counts how
    often the groups were looked at as a whole; `count_scores` is what the last look said of other
    numbers of
    groups; `inertia` the mean squared distance of a point to its centre before it was learned.
    """

    algorithm: str
    n_features: int
    next_id: int
    reviews: int
    inertia: float
    count_scores: list[CountScore]

    @property
    def started(self) -> bool:
        """Whether there are groups."""

    def learn(self, points: Points) -> None:
        """Learn points in their order. ValueError for another F, or a value not finite."""

    def assign(self, points: Points) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The id of each point's group, NO_ROW before the start, and the squared distance to its
        centre, nan before the start. Learns nothing."""

    def centres_by_id(self) -> dict[int, Points]:
        """The centres of the groups, float64[F] each, by id."""

    def take_errors(self) -> list[float]:
        """Mean squared distances to the centre, by block, since this was asked last."""

    def take_retired(self) -> list[tuple[int, int]]:
        """The ids that ended since this was asked last, each with the one that goes on for it, or
        NO_ROW."""

    def request_review(self) -> None:
        """Review with the next block: there is reason to believe that something has changed."""

    def rescale(self, factor: Points, shift: Points) -> None:
        """Express all that is remembered in other units: x becomes x * factor + shift, each [F]."""

    def sample(self) -> dict[str, NDArray[Any]]:
        """What of the state changes with every block, as named arrays of one length, views."""

    def scalars(self) -> dict[str, NDArray[Any]]:
        """The rest of the state, as named arrays, copies."""

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `sample` and `scalars` gave."""
