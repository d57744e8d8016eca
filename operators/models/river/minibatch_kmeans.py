"""Mini-batch k-means as a River clusterer: points and dataframes in, ids out.

The model is `operators/models/minibatch_kmeans.py`; this file turns feature names into columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from river import base
from river.utils import dataframe

from operators.models.minibatch_kmeans import MiniBatchKMeans
from operators.tables.table import TableState

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

    from narwhals.stable.v2.typing import IntoDataFrame, IntoSeries
    from numpy.typing import NDArray

    from operators.tables.table import Arrays, Table

    Feature = Hashable


class MiniBatchKMeansClusterer(TableState, base.Clusterer):
    """Mini-batch k-means with a memory for restarts and stable ids; see `MiniBatchKMeans`.

    Parameters
    ----------
    n_clusters
        Number of centres, at most 2**15.
    half_life_points
        After so many points an old one counts half; None never forgets.
    block_points
        Points that are learned together. Before the first block every id is NO_ROW, -1.
    sample_points
        Points kept for restarts.
    seed
        Same seed and same points, same centres.

    Examples
    --------
    >>> model = MiniBatchKMeansClusterer(n_clusters=2, block_points=4)
    >>> for x in (0.0, 10.0, 1.0, 11.0):
    ...     model.learn_one({"x": x})
    >>> sorted(centre["x"] for centre in model.centers.values())
    [0.5, 10.5]
    >>> model.predict_one({"x": 2.0}) == model.predict_one({"x": -3.0})
    True

    """

    def __init__(
        self,
        n_clusters: int = 5,
        half_life_points: float | None = None,
        block_points: int = 256,
        sample_points: int = 4096,
        seed: int = 0,
    ) -> None:
        self.n_clusters = n_clusters
        self.half_life_points = half_life_points
        self.block_points = block_points
        self.sample_points = sample_points
        self.seed = seed
        self._columns: dict[Feature, int] = {}
        self._model = MiniBatchKMeans(
            n_clusters, 0, half_life_points, block_points, sample_points, seed
        )

    @property
    def centers(self) -> dict[int, dict[Feature, float]]:
        """The live centres by id, in the form that River's metrics need."""
        return {
            cluster_id: dict(zip(self._columns, centre.tolist(), strict=True))
            for cluster_id, centre in self._model.centres_by_id().items()
        }

    def learn_one(self, x: dict[Feature, Any]) -> None:
        """Learn one point; a missing feature is 0. ValueError where a value is not finite."""
        self._add_features(x)
        self._model.learn(self._to_point(x))

    def predict_one(self, x: dict[Feature, Any]) -> int:
        """The id of the nearest centre; unknown features are ignored."""
        return int(self._model.predict(self._to_point(x))[0])

    def learn_many(self, X: IntoDataFrame) -> None:
        """Learn the rows of a dataframe (pandas, polars, ...), columns by name."""
        frame = dataframe.into_frame(X)
        self._add_features(frame.columns)
        self._model.learn(self._arrange(dataframe.to_numpy(frame), frame.columns))

    def predict_many(self, X: IntoDataFrame) -> IntoSeries:
        """The ids for the rows of a dataframe, as a series of the same kind."""
        frame = dataframe.into_frame(X)
        points = self._arrange(dataframe.to_numpy(frame), frame.columns)
        return dataframe.to_native_series(self._model.predict(points), name=None, like=frame)

    def learn_array(self, points: NDArray[np.float64]) -> None:
        """Learn points [n, F]; columns are the features in order of first sight, else 0..F-1."""
        if not self._columns:
            self._add_features(range(points.shape[1]))
        self._model.learn(points)

    def predict_array(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        """The ids for points [n, F] -> intp[n]."""
        return self._model.predict(points)

    def tables(self) -> Sequence[Table]:
        """The sample of the model."""
        return self._model.tables()

    def scalars(self) -> dict[str, NDArray[Any]]:
        """The rest of the state, copied. Feature names are all ints or all text."""
        return {"features": np.array(list(self._columns)), **self._model.scalars()}

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave, in a model made with the same arguments."""
        self._columns = {name: j for j, name in enumerate(arrays["features"].tolist())}
        self._model.restore(arrays)

    def _add_features(self, features: Iterable[Feature]) -> None:
        for feature in features:
            self._columns.setdefault(feature, len(self._columns))
        self._model.add_features(len(self._columns))

    def _to_point(self, x: dict[Feature, Any]) -> NDArray[np.float64]:
        return np.array([[x.get(name, 0.0) for name in self._columns]], np.float64)

    def _arrange(self, values: NDArray[Any], names: Iterable[Feature]) -> NDArray[np.float64]:
        """Columns in the order of first sight; a missing one is 0, an unknown one is ignored."""
        points = np.zeros((len(values), len(self._columns)))
        for source, name in enumerate(names):
            if name in self._columns:
                points[:, self._columns[name]] = values[:, source]
        return points
