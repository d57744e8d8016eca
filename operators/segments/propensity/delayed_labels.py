"""Pending decisions whose labels arrive weeks later: the predictions, and what shoppers did since.

The names of the arrays are stored; everything else may be changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.segments.propensity.decision_times import BOUGHT, MERGED, SEEN
from operators.segments.propensity.features import SHOPPER_FEATURES
from operators.tables.array_ops import grow
from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.propensity.decision_times import Keys, Observation
    from operators.tables.table import Arrays
    from state.arrays import Times

    Floats = NDArray[np.float64]

NEVER_MS = 1 << 62
_DECIDED, _RETURNED, _BOUGHT, _SPENT = range(4)


class MatureLabels(NamedTuple):
    """Decisions whose labels are complete: points [n, F], predictions [n, models], when each was
    taken, when its shopper first returned and first bought (ms; 0: never), what was spent
    (millionths)."""

    points: Floats
    predicted: Floats
    decided_ms: Times
    returned_ms: Times
    bought_ms: Times
    spent_micros: NDArray[np.int64]


class PartialOutcomes(NamedTuple):
    """Pending decisions: points [n, F], age (ms), and whether the shopper has returned by now."""

    points: Floats
    age_ms: Times
    has_returned: NDArray[np.bool_]


class DelayedLabels(TableState):
    """Decisions that are pending for `wait_ms` each, by the shopper's key, in memory or evicted.

    Orders within `spend_ms` count. All decisions are learned after the same wait, whatever the
    outcome: a positive outcome is known sooner than a negative one, and would be overrepresented
    else.
    """

    def __init__(self, wait_ms: int, spend_ms: int, models: int) -> None:
        self.wait_ms, self.spend_ms = wait_ms, spend_ms
        self._length = 0
        # 0 for a free slot.
        self._key: Keys = np.empty(0, np.uint64)
        # When it was taken, first return, first order (ms), spent (millionths).
        self._outcomes: NDArray[np.int64] = np.empty((0, 4), np.int64)
        self._points: NDArray[np.float32] = np.empty((0, len(SHOPPER_FEATURES)), np.float32)
        self._predictions: NDArray[np.float32] = np.empty((0, models), np.float32)
        self._dirty_rows = DirtyRows()
        self._slots: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def observe(self, observations: Iterable[Observation]) -> None:
        """Apply observations, in order."""
        for observation in observations:
            if observation.kind == MERGED:
                self._merge(observation.key, observation.value)
            else:
                for slot in self._slots.get(observation.key, ()):
                    self._record(slot, observation)

    def _record(self, slot: int, observation: Observation) -> None:
        outcome, at_ms = self._outcomes[slot], observation.at_ms
        decided_ms = int(outcome[_DECIDED])
        if at_ms <= decided_ms:
            return
        column = {SEEN: _RETURNED, BOUGHT: _BOUGHT}[observation.kind]
        if observation.kind == BOUGHT and at_ms > decided_ms + self.spend_ms:
            return
        outcome[column] = min(int(outcome[column]) or NEVER_MS, at_ms)
        outcome[_SPENT] += observation.value
        self._dirty_rows.mark(slot)

    def _merge(self, key: int, into: int) -> None:
        slots = self._slots.pop(key, [])
        if slots:
            self._key[slots] = into
            self._dirty_rows.mark(np.array(slots))
            self._slots[into] = sorted([*self._slots.get(into, []), *slots])

    def erase(self, key: int) -> None:
        """Delete the decisions of an erased shopper."""
        self._release(np.array(self._slots.get(key, []), np.intp))

    def partial_outcomes(self, now_ms: int) -> PartialOutcomes:
        """Return the pending decisions as they are at a time."""
        pending = np.flatnonzero(self._key[: self._length])
        outcomes = self._outcomes[pending]
        points = self._points[pending].astype(np.float64)
        return PartialOutcomes(points, now_ms - outcomes[:, _DECIDED], outcomes[:, _RETURNED] > 0)

    def next_due_ms(self) -> int:
        """Return when the labels of the oldest decision are complete, NEVER_MS without
        decisions."""
        decided_ms = self._outcomes[: self._length, _DECIDED][self._key[: self._length] > 0]
        return int(decided_ms.min()) + self.wait_ms if len(decided_ms) else NEVER_MS

    def take_matured(self, now_ms: int) -> MatureLabels:
        """Return the decisions whose labels are complete, oldest first, and drop them."""
        key, decided_ms = self._key[: self._length], self._outcomes[: self._length, _DECIDED]
        matured = np.flatnonzero((key > 0) & (decided_ms + self.wait_ms <= now_ms))
        matured = matured[np.lexsort((key[matured], decided_ms[matured]))]
        labels = MatureLabels(
            self._points[matured].astype(np.float64),
            self._predictions[matured].astype(np.float64),
            *(self._outcomes[matured, column] for column in range(4)),
        )
        self._release(matured)
        return labels

    def add(self, keys: Keys, now_ms: int, points: Floats, predicted: Floats) -> None:
        """Add decisions: keys [n], the models' input, the predictions."""
        free = np.flatnonzero(self._key[: self._length] == 0)[: len(keys)]
        slots = np.concatenate(
            [free, np.arange(self._length, self._length + len(keys) - len(free))]
        )
        self._length = max(self._length, int(slots.max(initial=-1)) + 1)
        self._key = grow(self._key, self._length, 0)
        self._outcomes = grow(self._outcomes, self._length, 0)
        self._points = grow(self._points, self._length, 0.0)
        self._predictions = grow(self._predictions, self._length, 0.0)
        self._dirty_rows.ensure_rows(self._length)
        self._key[slots], self._points[slots], self._predictions[slots] = keys, points, predicted
        self._outcomes[slots] = 0
        self._outcomes[slots, _DECIDED] = now_ms
        self._dirty_rows.mark(slots)
        for key, slot in zip(keys.tolist(), slots.tolist(), strict=True):
            self._slots.setdefault(key, []).append(slot)

    def tables(self) -> Sequence[Table]:
        """The slots."""
        # Stored names: "heard" are the outcomes, "said" the predictions.
        columns: Arrays = {
            "key": self._key[: self._length],
            "heard": self._outcomes[: self._length],
            "points": self._points[: self._length],
            "said": self._predictions[: self._length],
        }
        return [Table(columns, self._dirty_rows)]

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned, of an object with the same arguments."""
        self._key = arrays["key"].astype(np.uint64)
        self._outcomes = arrays["heard"].astype(np.int64)
        self._points = arrays["points"].astype(np.float32)
        self._predictions = arrays["said"].astype(np.float32)
        self._length = len(self._key)
        self._dirty_rows = DirtyRows(self._length)
        self._slots = {}
        for slot in np.flatnonzero(self._key).tolist():
            self._slots.setdefault(int(self._key[slot]), []).append(slot)

    def _release(self, slots: NDArray[np.intp]) -> None:
        for slot in slots.tolist():
            key = int(self._key[slot])
            remaining = [other for other in self._slots[key] if other != slot]
            if remaining:
                self._slots[key] = remaining
            else:
                del self._slots[key]
        self._key[slots] = 0
        self._dirty_rows.mark(slots)
