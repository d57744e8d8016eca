"""Decisions that wait for their outcome, found again by the mark of the event they were taken at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.tables.table import Table, TableState
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Keys = NDArray[np.uint64]
    Floats32 = NDArray[np.float32]

ALL = 2**64 - 1
"""Keys are evenly spread below that."""


class PendingDecisions(TableState):
    """At most `room` decisions: keys uint64, points float32[.., F], what was said float32.

    Where more come than there is room for, a random share of all keys is followed, smaller by half
    each time the room is full: which decisions are learned from never depends on their outcome, nor
    on how long that takes. The share grows again when three quarters of the room are free.
    """

    def __init__(self, capacity: int, n_features: int) -> None:
        self.room = capacity
        self.key_max = ALL
        self._keys: Keys = np.zeros(0, np.uint64)
        self._points: Floats32 = np.zeros((0, n_features), np.float32)
        self._predictions: Floats32 = np.zeros(0, np.float32)
        self._slots: dict[int, int] = {}
        self._free: list[int] = []
        self._dirty_rows = DirtyRows()

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, keys: Keys, points: Floats32, predicted: Floats32) -> None:
        """Let decisions [n] wait."""
        for i, key in enumerate(keys.tolist()):
            if key > self.key_max or key in self._slots:
                continue
            if not self._free:
                self._grow_or_subsample()
                if key > self.key_max:
                    continue
            slot = self._slots[key] = self._free.pop()
            self._keys[slot], self._points[slot], self._predictions[slot] = (
                key,
                points[i],
                predicted[i],
            )
            self._dirty_rows.mark(slot)

    def has(self, keys: Keys) -> NDArray[np.bool_]:
        """Which of the keys wait."""
        return np.array([key in self._slots for key in keys.tolist()], np.bool_)

    def take(self, keys: Keys) -> tuple[NDArray[np.intp], Floats32, Floats32]:
        """Those of the keys that waited, by their place in `keys`; their points, what was said."""
        slot_of = [(i, self._slots.pop(key, -1)) for i, key in enumerate(keys.tolist())]
        known = [(i, slot) for i, slot in slot_of if slot >= 0]
        indexes = np.array([i for i, _ in known], np.intp)
        slots = np.array([slot for _, slot in known], np.intp)
        self._release(slots)
        if self.key_max < ALL and len(self._slots) * 4 < self.room:
            self.key_max = min(ALL, self.key_max * 2 + 1)
        return indexes, self._points[slots], self._predictions[slots]

    def tables(self) -> Sequence[Table]:
        """Slots; key 0 is a free one."""
        columns: Arrays = {"keys": self._keys, "points": self._points, "said": self._predictions}
        return [Table(columns, self._dirty_rows)]

    def scalars(self) -> Arrays:
        """The share of keys that is followed, and the free slots in their order."""
        return {"bar": np.array([self.key_max], np.uint64), "free": np.array(self._free, np.int32)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of one made with the same arguments."""
        self.key_max = int(arrays["bar"][0])
        self._keys = arrays["keys"].astype(np.uint64)
        self._points = arrays["points"].astype(np.float32)
        self._predictions = arrays["said"].astype(np.float32)
        self._free = arrays["free"].tolist()
        self._slots = {key: slot for slot, key in enumerate(self._keys.tolist()) if key}
        self._dirty_rows = DirtyRows(len(self._keys))

    def _grow_or_subsample(self) -> None:
        size = len(self._keys)
        if size < self.room:
            larger = min(self.room, max(64, 2 * size))
            self._keys = np.resize(self._keys, larger)
            self._keys[size:] = 0
            self._points = np.resize(self._points, (larger, self._points.shape[1]))
            self._predictions = np.resize(self._predictions, larger)
            self._free += range(larger - 1, size - 1, -1)
            self._dirty_rows.ensure_rows(larger)
            return
        while not self._free:
            self.key_max //= 2
            over = [(key, slot) for key, slot in self._slots.items() if key > self.key_max]
            for key, _ in over:
                del self._slots[key]
            self._release(np.array([slot for _, slot in over], np.intp))

    def _release(self, slots: NDArray[np.intp]) -> None:
        self._keys[slots] = 0
        self._dirty_rows.mark(slots)
        self._free += slots.tolist()
