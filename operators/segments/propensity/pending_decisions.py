"""Pending decisions of open sessions, by the hash of the event at which they were taken.

The names of the arrays are stored; everything else may be changed.
"""

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
"""Keys are hashes, evenly distributed up to this."""


class PendingDecisions(TableState):
    """At most `capacity` decisions: keys uint64, points float32[.., F], predictions float32.

    When it is full, it keeps a random half of the keys and from then on accepts only keys of that
    half; again and again when it is full again. So whether a decision is learned depends neither on
    its outcome nor on how long that takes. The accepted share doubles when three quarters are free.
    """

    def __init__(self, capacity: int, n_features: int) -> None:
        self.capacity = capacity
        self.key_max = ALL
        self._keys: Keys = np.zeros(0, np.uint64)
        self._points: Floats32 = np.zeros((0, n_features), np.float32)
        self._predictions: Floats32 = np.zeros(0, np.float32)
        self._slots: dict[int, int] = {}
        self._free: list[int] = []
        self._dirty_rows = DirtyRows()

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: int) -> bool:
        return key in self._slots

    def add(self, keys: Keys, points: Floats32, predicted: Floats32) -> None:
        """Add decisions [n]."""
        added: dict[int, int] = {}
        for index, key in enumerate(keys.tolist()):
            if key > self.key_max or key in self._slots:
                continue
            if not self._free:
                self._write(added, keys, points, predicted)
                added = {}
                self._grow_or_subsample()
                if key > self.key_max:
                    continue
            added[index] = self._slots[key] = self._free.pop()
        self._write(added, keys, points, predicted)

    def _write(
        self, added: dict[int, int], keys: Keys, points: Floats32, predicted: Floats32
    ) -> None:
        """Write decisions into slots, given by their index."""
        if added:
            indexes, slots = np.array([*added]), np.array([*added.values()])
            self._keys[slots], self._points[slots] = keys[indexes], points[indexes]
            self._predictions[slots] = predicted[indexes]
            self._dirty_rows.mark(slots)

    def take(self, keys: Keys) -> tuple[NDArray[np.intp], Floats32, Floats32]:
        """Remove keys. Returns the indexes in `keys` of those that were pending, their points,
        predictions."""
        slot_of = [(i, self._slots.pop(key, -1)) for i, key in enumerate(keys.tolist())]
        known = [(i, slot) for i, slot in slot_of if slot >= 0]
        indexes = np.array([i for i, _ in known], np.intp)
        slots = np.array([slot for _, slot in known], np.intp)
        self._release(slots)
        if self.key_max < ALL and len(self._slots) * 4 < self.capacity:
            self.key_max = min(ALL, self.key_max * 2 + 1)
        return indexes, self._points[slots], self._predictions[slots]

    def tables(self) -> Sequence[Table]:
        """The slots; key 0 is a free one."""
        # Stored names: "said" are the predictions.
        columns: Arrays = {"keys": self._keys, "points": self._points, "said": self._predictions}
        return [Table(columns, self._dirty_rows)]

    def scalars(self) -> Arrays:
        """The largest accepted key, and the free slots in their order."""
        return {"bar": np.array([self.key_max], np.uint64), "free": np.array(self._free, np.int32)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Restore a state that `arrays` returned, of an object with the same arguments."""
        self.key_max = int(arrays["bar"][0])
        self._keys = arrays["keys"].astype(np.uint64)
        self._points = arrays["points"].astype(np.float32)
        self._predictions = arrays["said"].astype(np.float32)
        self._free = arrays["free"].tolist()
        self._slots = {key: slot for slot, key in enumerate(self._keys.tolist()) if key}
        self._dirty_rows = DirtyRows(len(self._keys))

    def _grow_or_subsample(self) -> None:
        size = len(self._keys)
        if size < self.capacity:
            larger = min(self.capacity, max(64, 2 * size))
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
