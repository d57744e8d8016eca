"""Any classifier of River in the place of our logistic regression: chances of an outcome, yes or no.

It learns outcome by outcome, or in blocks where the configuration says so and it can: `learn_many` takes
one step of a linear model for a whole block. Blocks are the same however outcomes are cut into calls.
The names of the arrays are stored.
"""

from __future__ import annotations

import importlib
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from operators.events.processing_errors import FATAL_ERRORS
from operators.models.block_buffer import BlockBuffer
from operators.models.river.stored_estimator import StoredEstimator
from operators.tables.table import TableState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.events.processing_errors import ProcessingErrors
    from operators.tables.table import Arrays, Table

    Floats = NDArray[np.float64]

CHANCE_MIN = 1e-6
"""A chance is kept so far from 0 and 1: a tree may be sure of what it has seen a few times."""


class NamedClassifier(TableState):
    """A classifier of River: `estimator`, as `expression` named it.

    With `block_rows` above 1 it learns and predicts in data frames whose columns are `features`;
    otherwise in dicts whose keys are their numbers.
    """

    def __init__(
        self,
        estimator: Any,
        expression: str,
        features: Sequence[str],
        errors: ProcessingErrors,
        block_rows: int = 1,
    ) -> None:
        self.algorithm = expression
        self._features = [*features]
        self._block_rows = block_rows
        self._processing_errors = errors
        learn = _learn_rows if block_rows == 1 else self._learn_frame
        self._learning = StoredEstimator(
            estimator,
            expression,
            len(features) + 1,
            learn,
            errors,
            "propensity_estimator",
            block_rows,
        )
        self._blocks = BlockBuffer(block_rows, len(features) + 1)
        self._rate = 0.5

    @property
    def failures(self) -> int:
        """Blocks of outcomes that it could not learn."""
        return self._learning.failed_blocks

    def set_base_rate(self, negatives: int, positives: int) -> None:
        """Set the share of positive outcomes, the chance where the classifier says nothing."""
        self._rate = (positives + 0.5) / (negatives + positives + 1.0)

    def learn_array(self, points: Floats, targets: Floats, _: float = 1.0) -> None:
        """Learn outcomes [n], 0 or 1, of points [n, F] in their order."""
        for block in self._blocks.push(np.column_stack([points, targets])):
            self._learning.learn(block)
        self._learning.save_when_due()

    def predict_array(self, points: Floats) -> Floats:
        """The chance for points [n, F] -> float64[n]; the rate where it says nothing or raises."""
        chances = np.full(len(points), np.nan)
        if self._block_rows == 1:
            self._predict_rows(points, chances)
        elif len(points):
            with self._processing_errors.isolate("propensity_estimator"):
                frame = data_frame(points, self._features)
                chances[:] = chances_of_frame(self._learning.estimator.predict_proba_many(frame))
        chances[~np.isfinite(chances)] = self._rate
        np.clip(chances, CHANCE_MIN, 1.0 - CHANCE_MIN, out=chances)
        return chances

    def tables(self) -> Sequence[Table]:
        """The classifier."""
        return self._learning.tables()

    def scalars(self) -> Arrays:
        """The incomplete block, and the rest of the state."""
        return {
            "waiting": self._blocks.buffered.copy(),
            "rate": np.array([self._rate]),
            **self._learning.scalars(),
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave. Raises SnapshotError where the classifier cannot be read."""
        self._learning.restore(arrays)
        self._blocks.restore(arrays["waiting"])
        self._rate = float(arrays["rate"][0])

    def _predict_rows(self, points: Floats, chances: Floats) -> None:
        estimator, is_recorded = self._learning.estimator, False
        for index, values in enumerate(points.tolist()):
            try:
                said = estimator.predict_proba_one(dict(enumerate(values)))
                chances[index] = chance_of(said)
            except FATAL_ERRORS:
                raise
            except Exception:
                if not is_recorded:
                    self._processing_errors.record("propensity_estimator")
                is_recorded = True

    def _learn_frame(self, estimator: Any, rows: list[list[float]]) -> None:
        values = np.array(rows)
        frame = data_frame(values[:, :-1], self._features)
        estimator.learn_many(frame, series(values[:, -1] > 0.5))


def data_frame(points: Floats, features: Sequence[str]) -> Any:
    """Points [n, F] as a data frame. Raises ImportError without pandas, which only this needs."""
    return importlib.import_module("pandas").DataFrame(points, columns=[*features])


def series(values: NDArray[Any]) -> Any:
    """Values [n] as a column of a data frame. Raises ImportError without pandas."""
    return importlib.import_module("pandas").Series(values)


def chance_of(said: Any) -> float:
    """The chance of True among the chances by label; nan where nothing is said.

    >>> chance_of({False: 0.75, True: 0.25}), chance_of({False: 1.0}), chance_of({})
    (0.25, 0.0, nan)
    """
    return float(said.get(True, 0.0)) if said else math.nan


def chances_of_frame(said: Any) -> Any:
    """As `chance_of`, of a frame with a column a label."""
    return said[True].to_numpy() if True in said.columns else np.full(len(said), math.nan)


def _learn_rows(estimator: Any, rows: list[list[float]]) -> None:
    for *values, target in rows:
        estimator.learn_one(dict(enumerate(values)), target > 0.5)
