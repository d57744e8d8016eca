"""Metrics of River beside ours: predicted chances against outcomes, as these become known.

The names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.models.river.stored_estimator import StoredEstimator
from operators.tables.table import Table, TableState, add_prefix, strip_prefix
from state.errors import SnapshotError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.events.processing_errors import ProcessingErrors
    from operators.tables.table import Arrays

    Floats = NDArray[np.float64]

MODULE = "river.metrics."


class NamedMetrics(TableState):
    """Metrics of a classifier by the expressions that named them. A new one starts from empty."""

    def __init__(self, metrics: Mapping[str, Any], errors: ProcessingErrors) -> None:
        self._metrics = [
            StoredEstimator(metric, text, 2, update_metric, errors, "propensity_metrics")
            for text, metric in metrics.items()
        ]
        self._errors = errors

    def update(self, chances: Floats, outcomes: Floats) -> None:
        """Add chances [n] that were predicted, and their outcomes [n], 0 or 1."""
        if not self._metrics:
            return
        rows = np.column_stack([outcomes, chances])
        for metric in self._metrics:
            metric.learn(rows)
            metric.save_when_due()

    def values(self) -> dict[str, float]:
        """The value of each metric, by its expression without `river.metrics.` and empty brackets."""
        found: dict[str, float] = {}
        for metric in self._metrics:
            name = metric.expression.removeprefix(MODULE).removesuffix("()")
            with self._errors.isolate("propensity_metrics"):
                found[name] = float(metric.estimator.get())
        return found

    def tables(self) -> Sequence[Table]:
        """What the metrics hold."""
        numbered = enumerate(self._metrics)
        return [one.prefixed(f"{n}.") for n, metric in numbered for one in metric.tables()]

    def scalars(self) -> Arrays:
        """The rest of the state."""
        scalars: dict[str, NDArray[Any]] = {}
        for number, metric in enumerate(self._metrics):
            scalars |= add_prefix(f"{number}.", metric.scalars())
        return scalars

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave."""
        for number, metric in enumerate(self._metrics):
            try:
                metric.restore(strip_prefix(f"{number}.", arrays))
            except SnapshotError:  # it is new, or was another one: it starts from empty
                continue


def update_metric(metric: Any, rows: list[list[float]]) -> None:
    """Add rows of outcome and chance, in the form that the metric asks for."""
    for outcome, chance in rows:
        said: Any = {False: 1.0 - chance, True: chance}
        metric.update(outcome > 0.5, chance > 0.5 if metric.requires_labels else said)
