"""Detects that something measured again and again has become larger than it was.

Oracle: this is River's `drift.ADWIN` itself; only storing is added. The array names are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from river import drift

from operators.tables.table import TableState

if TYPE_CHECKING:
    from collections.abc import Iterable

    from operators.tables.table import Arrays

VALUES_KEPT = 1024
"""When so many values are kept, the detector starts again with the newer half of them."""


class DriftDetector(TableState):
    """River's ADWIN (Bifet and Gavaldà 2007). Its state cannot be stored; so the values it has read are
    kept, and a new detector reads them again.

    >>> detector = DriftDetector()
    >>> detector.update([0.0, 1.0] * 50); detector.drifts
    0
    >>> detector.update([3.0, 4.0] * 50); detector.drifts
    1
    """

    def __init__(self) -> None:
        self.drifts = 0
        """The number of drifts so far."""
        self.values_since_drift = 0
        """Values read since the last drift, or since the start."""
        self._drifts_taken = 0
        self._values: list[float] = []
        self._detector = self._create_detector()

    def update(self, values: Iterable[float]) -> None:
        """Read values in their order."""
        for value in values:
            self._values.append(value)
            previous = self._detector.estimation
            self._detector.update(value)
            self.values_since_drift += 1
            if self._detector.drift_detected and self._detector.estimation > previous:
                self.drifts += 1
                self.values_since_drift = 0
            if len(self._values) >= VALUES_KEPT:
                self._replay(self._values[VALUES_KEPT // 2 :])

    def take_deltas(self) -> int:
        """The number of drifts since the last call, or since the state was restored."""
        taken, self._drifts_taken = self._drifts_taken, self.drifts
        return self.drifts - taken

    def scalars(self) -> Arrays:
        """Counts, and the values."""
        return {
            "counts": np.array([self.drifts, self.values_since_drift]),
            "values": np.array(self._values, np.float64),
        }

    def restore(self, arrays: Arrays) -> None:
        """Restore what `arrays` gave."""
        self.drifts, self.values_since_drift = arrays["counts"].tolist()
        self._drifts_taken = self.drifts
        self._replay(arrays["values"].tolist())

    def _replay(self, values: list[float]) -> None:
        self._values = values
        self._detector = self._create_detector()
        for value in values:
            self._detector.update(value)

    def _create_detector(self) -> Any:
        return drift.ADWIN(clock=8)  # type: ignore[no-untyped-call]
