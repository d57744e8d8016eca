"""Decisions that wait for their outcome, found again by the mark of the event they were taken at."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.tables.table import Kept, Table
from state.dirty_rows import Marks

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays

    Keys = NDArray[np.uint64]
    Floats32 = NDArray[np.float32]

ALL = 2**64 - 1
"""Keys are evenly spread below that."""


class Waiting(Kept):
    """At most `room` decisions: keys uint64, points float32[.., F], what was said float32.

    Where more come than there is room for, a random share of all keys is followed, smaller by half
    each time the room is full: which decisions are learned from never depends on their outcome, nor
    on how long that takes. The share grows again when three quarters of the room are free.
    """

    def __init__(self, room: int, n_features: int) -> None:
        self.room = room
        self.bar = ALL
        self._keys: Keys = np.zeros(0, np.uint64)
        self._points: Floats32 = np.zeros((0, n_features), np.float32)
        self._said: Floats32 = np.zeros(0, np.float32)
        self._slots: dict[int, int] = {}
        self._free: list[int] = []
        self._marks = Marks()

    def __len__(self) -> int:
        return len(self._slots)

    def add(self, keys: Keys, points: Floats32, said: Floats32) -> None:
        """Let decisions [n] wait."""
        for i, key in enumerate(keys.tolist()):
            if key > self.bar or key in self._slots:
                continue
            if not self._free:
                self._make_room()
                if key > self.bar:
                    continue
            slot = self._slots[key] = self._free.pop()
            self._keys[slot], self._points[slot], self._said[slot] = key, points[i], said[i]
            self._marks.mark(slot)

    def has(self, keys: Keys) -> NDArray[np.bool_]:
        """Which of the keys wait."""
        return np.array([key in self._slots for key in keys.tolist()], np.bool_)

    def take(self, keys: Keys) -> tuple[NDArray[np.intp], Floats32, Floats32]:
        """Those of the keys that waited, by their place in `keys`; their points, what was said."""
        found = [(i, self._slots.pop(key, -1)) for i, key in enumerate(keys.tolist())]
        known = [(i, slot) for i, slot in found if slot >= 0]
        places = np.array([i for i, _ in known], np.intp)
        slots = np.array([slot for _, slot in known], np.intp)
        self._free_again(slots)
        if self.bar < ALL and len(self._slots) * 4 < self.room:
            self.bar = min(ALL, self.bar * 2 + 1)
        return places, self._points[slots], self._said[slots]

    def tables(self) -> Sequence[Table]:
        """Slots; key 0 is a free one."""
        columns: Arrays = {"keys": self._keys, "points": self._points, "said": self._said}
        return [Table(columns, self._marks)]

    def small(self) -> Arrays:
        """The share of keys that is followed, and the free slots in their order."""
        return {"bar": np.array([self.bar], np.uint64), "free": np.array(self._free, np.int32)}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of one made with the same arguments."""
        self.bar = int(arrays["bar"][0])
        self._keys = arrays["keys"].astype(np.uint64)
        self._points = arrays["points"].astype(np.float32)
        self._said = arrays["said"].astype(np.float32)
        self._free = arrays["free"].tolist()
        self._slots = {key: slot for slot, key in enumerate(self._keys.tolist()) if key}
        self._marks = Marks(len(self._keys))

    def _make_room(self) -> None:
        held = len(self._keys)
        if held < self.room:
            larger = min(self.room, max(64, 2 * held))
            self._keys = np.resize(self._keys, larger)
            self._keys[held:] = 0
            self._points = np.resize(self._points, (larger, self._points.shape[1]))
            self._said = np.resize(self._said, larger)
            self._free += range(larger - 1, held - 1, -1)
            self._marks.reach(larger)
            return
        while not self._free:
            self.bar //= 2
            over = [(key, slot) for key, slot in self._slots.items() if key > self.bar]
            for key, _ in over:
                del self._slots[key]
            self._free_again(np.array([slot for _, slot in over], np.intp))

    def _free_again(self, slots: NDArray[np.intp]) -> None:
        self._keys[slots] = 0
        self._marks.mark(slots)
        self._free += slots.tolist()
