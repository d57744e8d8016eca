"""Decisions whose outcome is known weeks later: what was said of shoppers, and what they did since.

The names of the arrays are stored; everything else is free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.segments.propensity.decision_times import BOUGHT, CAME, MOVED
from operators.segments.propensity.features import SHOPPER_FEATURES
from operators.tables.table import Kept, Table
from operators.tables.top_partners import grown
from state.dirty_rows import Marks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from operators.segments.propensity.decision_times import Keys, Told
    from operators.tables.table import Arrays
    from state.interactions import Times

    Floats = NDArray[np.float64]

NEVER_MS = 1 << 62
_TAKEN, _CAME, _BOUGHT, _SPENT = range(4)


class Due(NamedTuple):
    """Decisions whose time is over: points [n, F], what was said [n, models], when each was taken, came
    back first and bought first (ms; 0: not), what was spent (millionths)."""

    points: Floats
    said: Floats
    at_ms: Times
    came_ms: Times
    bought_ms: Times
    spent_micros: NDArray[np.int64]


class SoFar(NamedTuple):
    """Decisions that wait: points [n, F], for how long (ms), and whether their shopper came by now."""

    points: Floats
    age_ms: Times
    came: NDArray[np.bool_]


class Later(Kept):
    """Decisions that wait `wait_ms` each, by the key of their shopper, be it in memory or not.

    Orders within `spend_ms` count. All are learned when their time is over, whatever came of them:
    those that come true are known sooner than those that do not.
    """

    def __init__(self, wait_ms: int, spend_ms: int, models: int) -> None:
        self.wait_ms, self.spend_ms = wait_ms, spend_ms
        self._length = 0
        # 0 for a free slot.
        self._key: Keys = np.empty(0, np.uint64)
        # Taken, came back first, bought first, spent (millionths).
        self._heard: NDArray[np.int64] = np.empty((0, 4), np.int64)
        self._points: NDArray[np.float32] = np.empty((0, len(SHOPPER_FEATURES)), np.float32)
        self._said: NDArray[np.float32] = np.empty((0, models), np.float32)
        self._marks = Marks()
        self._slots: dict[int, list[int]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._slots.values()))

    def hear(self, told: Iterable[Told]) -> None:
        """What was heard of shoppers, in order."""
        for one in told:
            if one.kind == MOVED:
                self._move(one.key, one.value)
            else:
                for slot in self._slots.get(one.key, ()):
                    self._hear(slot, one)

    def _hear(self, slot: int, told: Told) -> None:
        heard, at_ms = self._heard[slot], told.at_ms
        taken_ms = int(heard[_TAKEN])
        if at_ms <= taken_ms:
            return
        column = {CAME: _CAME, BOUGHT: _BOUGHT}[told.kind]
        if told.kind == BOUGHT and at_ms > taken_ms + self.spend_ms:
            return
        heard[column] = min(int(heard[column]) or NEVER_MS, at_ms)
        heard[_SPENT] += told.value
        self._marks.mark(slot)

    def _move(self, key: int, heir: int) -> None:
        slots = self._slots.pop(key, [])
        if slots:
            self._key[slots] = heir
            self._marks.mark(np.array(slots))
            self._slots[heir] = sorted([*self._slots.get(heir, []), *slots])

    def forget(self, key: int) -> None:
        """A shopper was erased."""
        self._free(np.array(self._slots.get(key, []), np.intp))

    def so_far(self, now_ms: int) -> SoFar:
        """Those that wait, as they are at a time."""
        waits = np.flatnonzero(self._key[: self._length])
        heard = self._heard[waits]
        points = self._points[waits].astype(np.float64)
        return SoFar(points, now_ms - heard[:, _TAKEN], heard[:, _CAME] > 0)

    def next_due_ms(self) -> int:
        """When the first of them is over."""
        taken_ms = self._heard[: self._length, _TAKEN][self._key[: self._length] > 0]
        return int(taken_ms.min()) + self.wait_ms if len(taken_ms) else NEVER_MS

    def due(self, now_ms: int) -> Due:
        """The decisions whose time is over, oldest first; they are forgotten."""
        key, taken_ms = self._key[: self._length], self._heard[: self._length, _TAKEN]
        over = np.flatnonzero((key > 0) & (taken_ms + self.wait_ms <= now_ms))
        over = over[np.lexsort((key[over], taken_ms[over]))]
        found = Due(
            self._points[over].astype(np.float64),
            self._said[over].astype(np.float64),
            *(self._heard[over, column] for column in range(4)),
        )
        self._free(over)
        return found

    def take(self, keys: Keys, now_ms: int, points: Floats, said: Floats) -> None:
        """Let decisions wait: keys [n], what the models see of each, what they say."""
        free = np.flatnonzero(self._key[: self._length] == 0)[: len(keys)]
        slots = np.concatenate(
            [free, np.arange(self._length, self._length + len(keys) - len(free))]
        )
        self._length = max(self._length, int(slots.max(initial=-1)) + 1)
        self._key = grown(self._key, self._length, 0)
        self._heard = grown(self._heard, self._length, 0)
        self._points = grown(self._points, self._length, 0.0)
        self._said = grown(self._said, self._length, 0.0)
        self._marks.reach(self._length)
        self._key[slots], self._points[slots], self._said[slots] = keys, points, said
        self._heard[slots] = 0
        self._heard[slots, _TAKEN] = now_ms
        self._marks.mark(slots)
        for key, slot in zip(keys.tolist(), slots.tolist(), strict=True):
            self._slots.setdefault(key, []).append(slot)

    def tables(self) -> Sequence[Table]:
        """Slots."""
        columns: Arrays = {
            "key": self._key[: self._length],
            "heard": self._heard[: self._length],
            "points": self._points[: self._length],
            "said": self._said[: self._length],
        }
        return [Table(columns, self._marks)]

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of one made with the same arguments."""
        self._key = arrays["key"].astype(np.uint64)
        self._heard = arrays["heard"].astype(np.int64)
        self._points = arrays["points"].astype(np.float32)
        self._said = arrays["said"].astype(np.float32)
        self._length = len(self._key)
        self._marks = Marks(self._length)
        self._slots = {}
        for slot in np.flatnonzero(self._key).tolist():
            self._slots.setdefault(int(self._key[slot]), []).append(slot)

    def _free(self, slots: NDArray[np.intp]) -> None:
        for slot in slots.tolist():
            key = int(self._key[slot])
            others = [other for other in self._slots[key] if other != slot]
            if others:
                self._slots[key] = others
            else:
                del self._slots[key]
        self._key[slots] = 0
        self._marks.mark(slots)
