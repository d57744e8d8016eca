"""Detects that something measured again and again has become larger than it was.

Oracle: this is River's `drift.ADWIN` itself, or the detector that the configuration names; only storing
is added. The array names are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from river import drift

from operators.tables.table import TableState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from operators.tables.table import Arrays

VALUES_KEPT = 1024
"""When so many values are kept, the detector starts again with the newer half of them."""


RISE_VALUES = 32
"""Of a detector without an `estimation`, so many last values are compared with those before."""


class DriftDetector(TableState):
    """River's ADWIN (Bifet and Gavaldà 2007), or what `create` makes. The values it has read are kept,
    and a new detector reads them again: so any detector can be stored.

    >>> detector = DriftDetector()
    >>> detector.update([0.0, 1.0] * 50); detector.drifts
    0
    >>> detector.update([3.0, 4.0] * 50); detector.drifts
    1
    """

    def __init__(self, create: Callable[[], Any] | None = None) -> None:
        self._create = create or _create_adwin
        self.drifts = 0
        """The number of drifts so far."""
        self.values_since_drift = 0
        """Values read since the last drift, or since the start."""
        self._drifts_taken = 0
        self._values: list[float] = []
        self._detector = self._create()

    def update(self, values: Iterable[float]) -> None:
        """Read values in their order."""
        for value in values:
            self._values.append(value)
            previous = getattr(self._detector, "estimation", None)
            self._detector.update(value)
            self.values_since_drift += 1
            if self._detector.drift_detected and self._has_risen(previous):
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
        self._detector = self._create()
        for value in values:
            self._detector.update(value)

    def _has_risen(self, previous: float | None) -> bool:
        """Whether the detected change is a rise; `previous` is what the detector estimated before."""
        if previous is not None:
            return bool(self._detector.estimation > previous)
        before, recent = self._values[:-RISE_VALUES], self._values[-RISE_VALUES:]
        return bool(before) and float(np.mean(recent)) > float(np.mean(before))


def _create_adwin() -> Any:
    return drift.ADWIN(clock=8)  # type: ignore[no-untyped-call]
