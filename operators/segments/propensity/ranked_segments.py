"""The members of the built-in segments: who enters and leaves as predictions and thresholds change.

Active shoppers are assigned with each batch; all shoppers, and the thresholds, every hour of event time.
The names of the arrays are stored; everything else may be changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.segments.propensity import built_in_segments
from operators.segments.propensity.built_in_segments import ScoredRows, Thresholds
from operators.tables.table import TableState, add_prefix, strip_prefix
from state.entries import Transition
from state.times import DAY_MS, HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.propensity.feature_store import LatestFeatures
    from operators.segments.propensity.profile_fields import PropensityScores
    from operators.tables.table import Arrays
    from state.arrays import Rows, Times

ACTIVATIONS_PER_ROW = 0.5
"""All shoppers are assigned again every hour of event time, but not before so many activations a shopper
(it costs .5 us each), and at least once a day."""


class RankedSegments(TableState):
    """Thresholds, and when all shoppers were assigned last. The members are stored with the features."""

    def __init__(self, features: LatestFeatures, dormant_days: int) -> None:
        self._features = features
        self._dormant_ms = dormant_days * DAY_MS
        self._thresholds: Thresholds | None = None
        self._assigned_ms = 0
        self._activations = 0

    @property
    def is_live(self) -> bool:
        """Whether there are thresholds."""
        return self._thresholds is not None

    def count_activations(self, count: int) -> None:
        """Count active shoppers: they bring the next assignment of all shoppers nearer."""
        self._activations += count

    def assign_active(
        self, shoppers: Sequence[str], rows: Rows, scores: PropensityScores, at_ms: Times
    ) -> list[Transition]:
        """Assign active shoppers by the current thresholds."""
        if self._thresholds is None:
            return []
        return self._assign(self._thresholds, shoppers, rows, scores, at_ms)

    def start_round(self, clock_ms: int, shoppers: int, *, last: bool) -> bool:
        """Return whether all shoppers are to be assigned now, and start the next round if so."""
        activations = self._activations
        is_due = clock_ms // HOUR_MS > self._assigned_ms // HOUR_MS and (
            activations >= ACTIVATIONS_PER_ROW * shoppers or clock_ms - self._assigned_ms >= DAY_MS
        )
        if is_due or last:
            self._assigned_ms, self._activations = clock_ms, 0
        return is_due or last

    def assign_all(
        self, names: Sequence[str], rows: Rows, scores: PropensityScores, clock_ms: int
    ) -> list[Transition]:
        """Compute the thresholds, and assign all shoppers by them; `names` are by row."""
        self._thresholds = built_in_segments.compute_thresholds(scores.buys, scores.value)
        at_ms = np.full(len(rows), clock_ms)
        return self._assign(self._thresholds, _Names(names, rows), rows, scores, at_ms)

    def remove_all(self, names: Sequence[str], rows: Rows, clock_ms: int) -> list[Transition]:
        """Remove all shoppers from the segments; `names` are by row."""
        no_segments, at_ms = np.zeros(len(rows), np.uint8), np.full(len(rows), clock_ms)
        return self._set_segments(_Names(names, rows), rows, no_segments, at_ms)

    def scalars(self) -> Arrays:
        """The time of the last assignment, and the thresholds."""
        scalars: dict[str, NDArray[Any]] = {
            "decided": np.array([self._assigned_ms, self._activations])
        }
        if self._thresholds is not None:
            scalars |= add_prefix("thresholds.", self._thresholds._asdict())
        return scalars

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore what `scalars` returned."""
        self._assigned_ms, self._activations = arrays["decided"].tolist()
        if "thresholds.chance" in arrays:
            self._thresholds = Thresholds(**strip_prefix("thresholds.", arrays))

    def _assign(
        self,
        thresholds: Thresholds,
        shoppers: Sequence[str] | _Names,
        rows: Rows,
        scores: PropensityScores,
        at_ms: Times,
    ) -> list[Transition]:
        features = self._features
        last_ms, has_bought = features.last_ms(rows), features.has_bought(rows)
        at_ms = np.maximum(at_ms, last_ms)
        scored = ScoredRows(
            scores.buys, scores.value, at_ms - last_ms, has_bought, features.segment_bits[rows]
        )
        assigned = built_in_segments.assign(thresholds, scored, self._dormant_ms)
        return self._set_segments(shoppers, rows, assigned, at_ms)

    def _set_segments(
        self,
        shoppers: Sequence[str] | _Names,
        rows: Rows,
        assigned: NDArray[np.uint8],
        at_ms: Times,
    ) -> list[Transition]:
        """Set the segments of rows, as bits, and return the transitions."""
        previous = self._features.segment_bits[rows]
        changed = np.flatnonzero(assigned != previous)
        self._features.set_segments(rows[changed], assigned[changed])
        transitions: list[Transition] = []
        for i in changed.tolist():
            name, old, new = shoppers[i], int(previous[i]), int(assigned[i])
            transitions += [
                Transition(name, sid, bool(new & bit), int(at_ms[i]))
                for bit, sid in built_in_segments.IDS.items()
                if (old ^ new) & bit
            ]
        return transitions


class _Names:
    """The names of rows, looked up only for those that change."""

    def __init__(self, names: Sequence[str], rows: Rows) -> None:
        self._names, self._rows = names, rows

    def __getitem__(self, i: int) -> str:
        return self._names[int(self._rows[i])]
