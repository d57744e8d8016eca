"""An alarm where something that is measured again and again has become larger than it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from river import drift

from operators.tables.table import Kept

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

REMEMBERED = 1024
"""So many values are kept; then the detector begins anew with the newer half of them."""


class DriftAlarm(Kept):
    """River's ADWIN (Bifet and Gavaldà 2007), which cannot be stored: the values it has heard are kept,
    and told again to a new one.

    >>> alarm = DriftAlarm()
    >>> alarm.hear([0.0, 1.0] * 50); alarm.drifts
    0
    >>> alarm.hear([3.0, 4.0] * 50); alarm.drifts
    1
    """

    def __init__(self) -> None:
        self.drifts = 0
        """How often there was one."""
        self.since = 0
        """Values heard since the last one, or since the start."""
        self._told = 0
        self._values: list[float] = []
        self._detector = self._new()

    def hear(self, values: Iterable[float]) -> None:
        """Values in their order."""
        for value in values:
            self._values.append(value)
            before = self._detector.estimation
            self._detector.update(value)
            self.since += 1
            if self._detector.drift_detected and self._detector.estimation > before:
                self.drifts += 1
                self.since = 0
            if len(self._values) >= REMEMBERED:
                self._begin(self._values[REMEMBERED // 2 :])

    def growth(self) -> int:
        """How many drifts there were since this was asked last, or since the state was restored."""
        told, self._told = self._told, self.drifts
        return self.drifts - told

    def small(self) -> Arrays:
        """Counts, and the values."""
        return {
            "counts": np.array([self.drifts, self.since]),
            "values": np.array(self._values, np.float64),
        }

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave."""
        self.drifts, self.since = arrays["counts"].tolist()
        self._told = self.drifts
        self._begin(arrays["values"].tolist())

    def _begin(self, values: list[float]) -> None:
        self._values = values
        self._detector = self._new()
        for value in values:
            self._detector.update(value)

    def _new(self) -> Any:
        return drift.ADWIN(clock=8)  # type: ignore[no-untyped-call]
