"""The column of each feature: River passes dicts and data frames by name, our models take arrays.

A feature that a model has not seen yet gets the next column; one that is missing in a row is 0, and a
read never adds any. Change freely; the names are stored by the models.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Mapping

    from numpy.typing import NDArray

    Feature = Hashable
    Points = NDArray[np.float64]


def frames() -> Any:
    """What River reads and makes data frames with. It is imported late: the flow passes arrays."""
    return importlib.import_module("river.utils.dataframe")


class FeatureColumns:
    """Features by the order in which they were seen first; the first `count` are named 0, 1, ...

    >>> columns = FeatureColumns(); columns.add(["views", "visits"])
    >>> columns.row({"visits": 3.0, "never seen": 1.0}).tolist()
    [[0.0, 3.0]]
    """

    def __init__(self, count: int = 0) -> None:
        self._column_of: dict[Feature, int] = {name: name for name in range(count)}

    def __len__(self) -> int:
        return len(self._column_of)

    @property
    def names(self) -> list[Feature]:
        """The features in the order of their columns."""
        return [*self._column_of]

    def add(self, features: Iterable[Feature]) -> None:
        """Give a column to each feature that has none."""
        for feature in features:
            self._column_of.setdefault(feature, len(self._column_of))

    def row(self, x: Mapping[Feature, Any]) -> Points:
        """One row of features as an array [1, F]."""
        return np.array([[x.get(name, 0.0) for name in self._column_of]], np.float64)

    def of_frame(self, frame: Any) -> Points:
        """The rows of a frame (of `frames().into_frame`) as an array [n, F], columns by name."""
        values = frames().to_numpy(frame)
        points = np.zeros((len(values), len(self._column_of)))
        for source, name in enumerate(frame.columns):
            if name in self._column_of:
                points[:, self._column_of[name]] = values[:, source]
        return points

    def array(self) -> NDArray[Any]:
        """The names, to be stored. They are all ints or all text."""
        return np.array(self.names)

    def restore(self, names: NDArray[Any]) -> None:
        """Restore what `array` gave."""
        self._column_of = {name: column for column, name in enumerate(names.tolist())}
