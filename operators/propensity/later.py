"""Decisions whose outcome is known weeks later: shoppers drawn by chance at every hour of event time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from operators.learners.heaviest import grown
from operators.learners.table import Kept, Table
from operators.propensity.features import SHOPPER_FEATURES
from state.interactions import NOBODY
from state.marks import Marks
from state.money import add
from state.times import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from operators.learners.table import Arrays
    from state.interactions import Rows, Times

    Floats = NDArray[np.float64]

FREE, AWAY, ERASED = -1, -2, -3
"""Owners that are no row: none at all, one who is no longer in memory, one not to be learned from."""


class Due(NamedTuple):
    """Decisions whose time is over: points [n, F], what was said [n, models], when each was taken, came
    back first and bought first (ms; 0: not), what was spent (millionths)."""

    points: Floats
    said: Floats
    at_ms: Times
    came_ms: Times
    bought_ms: Times
    spent_micros: NDArray[np.int64]


class Later(Kept):
    """At most `room` decisions, at most one a shopper, each waiting `wait_ms`.

    So many shoppers are drawn an hour that there is room for those of all hours to come, evenly from
    everybody in memory: who is learned from looks like who is scored. Of one who is put away while
    it waits, nothing more is heard.
    """

    def __init__(self, room: int, wait_ms: int, spend_ms: int, models: int, seed: int) -> None:
        self.room, self.wait_ms, self.spend_ms = room, wait_ms, spend_ms
        self._seed = seed
        self._hour = 0
        self._length = 0
        self._owner: Rows = np.empty(0, np.int32)
        # Taken, came back first, bought first, spent (millionths).
        self._heard: NDArray[np.int64] = np.empty((0, 4), np.int64)
        self._points: NDArray[np.float32] = np.empty((0, len(SHOPPER_FEATURES)), np.float32)
        self._said: NDArray[np.float32] = np.empty((0, models), np.float32)
        self._marks = Marks()
        self._slot_of: Rows = np.empty(0, np.int32)

    def __len__(self) -> int:
        return int(np.count_nonzero(self._owner[: self._length] != FREE))

    def see(self, rows: Rows, at_ms: Times) -> None:
        """Shoppers were active."""
        self._reach(int(rows.max(initial=-1)) + 1)
        slots = self._slot_of[rows]
        waits = slots != NOBODY
        slots, at_ms = slots[waits], at_ms[waits]
        first = (self._heard[slots, 1] == 0) & (at_ms > self._heard[slots, 0])
        self._heard[slots[first], 1] = at_ms[first]
        self._marks.mark(slots[first])

    def order(self, row: int, micros: int, at_ms: int) -> None:
        """A shopper bought."""
        slot = int(self._slot_of[row]) if 0 <= row < len(self._slot_of) else NOBODY
        if slot == NOBODY:
            return
        taken_ms = int(self._heard[slot, 0])
        if taken_ms < at_ms <= taken_ms + self.spend_ms:
            bought_ms = int(self._heard[slot, 2])
            self._heard[slot, 2] = min(bought_ms, at_ms) if bought_ms else at_ms
            self._heard[slot, 3] = add(int(self._heard[slot, 3]), micros)
            self._marks.mark(slot)

    def leave(self, row: int, to: int) -> None:
        """A shopper is no more: it turned out to be the one of row `to`, or was erased (NOBODY)."""
        slot = int(self._slot_of[row]) if 0 <= row < len(self._slot_of) else NOBODY
        if slot == NOBODY:
            return
        self._slot_of[row] = NOBODY
        self._marks.mark(slot)
        self._owner[slot] = ERASED
        if to != NOBODY:
            self._reach(to + 1)
            if self._slot_of[to] == NOBODY:
                self._owner[slot], self._slot_of[to] = to, slot

    def forget(self, rows: Rows) -> None:
        """These are no longer in memory."""
        rows = rows[rows < len(self._slot_of)]
        slots = self._slot_of[rows]
        slots = slots[slots != NOBODY]
        self._owner[slots] = AWAY
        self._marks.mark(slots)
        self._slot_of[rows] = NOBODY

    def due(self, clock_ms: int) -> Due | None:
        """The decisions whose time is over, oldest first; asked once an hour, else None."""
        if clock_ms // HOUR_MS <= self._hour:
            return None
        owner, taken_ms = self._owner[: self._length], self._heard[: self._length, 0]
        over = np.flatnonzero((owner != FREE) & (taken_ms + self.wait_ms <= clock_ms))
        over = over[taken_ms[over].argsort(kind="stable")]
        of_row = over[owner[over] >= 0]
        self._slot_of[owner[of_row]] = NOBODY
        told = over[owner[over] != ERASED]
        found = Due(
            self._points[told].astype(np.float64),
            self._said[told].astype(np.float64),
            *(self._heard[told, column] for column in range(4)),
        )
        self._owner[over] = FREE
        self._marks.mark(over)
        return found

    def draw(self, live: Rows, clock_ms: int) -> Rows:
        """Shoppers of whom a decision is to be taken now; comes after `due`, then `take`."""
        hour = clock_ms // HOUR_MS
        hours = hour - self._hour if self._hour else 1
        self._hour = hour
        self._reach(int(live.max(initial=-1)) + 1)
        live = live[self._slot_of[live] == NOBODY]
        wanted = -(-self.room * HOUR_MS * hours // self.wait_ms)
        wanted = min(wanted, self.room - len(self), len(live))
        rng = np.random.default_rng((self._seed, hour))
        drawn: Rows = np.sort(rng.choice(live, wanted, replace=False))
        return drawn

    def take(self, rows: Rows, clock_ms: int, points: Floats, said: Floats) -> None:
        """Let decisions wait: rows [n], what the models see of each, what they say."""
        free = np.flatnonzero(self._owner[: self._length] == FREE)[: len(rows)]
        slots = np.concatenate(
            [free, np.arange(self._length, self._length + len(rows) - len(free))]
        )
        self._length = max(self._length, int(slots.max(initial=-1)) + 1)
        self._owner = grown(self._owner, self._length, FREE)
        self._heard = grown(self._heard, self._length, 0)
        self._points = grown(self._points, self._length, 0.0)
        self._said = grown(self._said, self._length, 0.0)
        self._marks.reach(self._length)
        self._owner[slots], self._points[slots], self._said[slots] = rows, points, said
        self._heard[slots] = 0
        self._heard[slots, 0] = clock_ms
        self._slot_of[rows] = slots
        self._marks.mark(slots)

    def tables(self) -> Sequence[Table]:
        """Slots."""
        columns: Arrays = {
            "owner": self._owner[: self._length],
            "heard": self._heard[: self._length],
            "points": self._points[: self._length],
            "said": self._said[: self._length],
        }
        return [Table(columns, self._marks)]

    def small(self) -> Arrays:
        """The hour that was drawn for."""
        return {"hour": np.array([self._hour])}

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `arrays` gave, of one made with the same arguments."""
        self._hour = int(arrays["hour"][0])
        self._owner = arrays["owner"].astype(np.int32)
        self._heard = arrays["heard"].astype(np.int64)
        self._points = arrays["points"].astype(np.float32)
        self._said = arrays["said"].astype(np.float32)
        self._length = len(self._owner)
        self._marks = Marks(self._length)
        self._slot_of = np.empty(0, np.int32)
        owned = np.flatnonzero(self._owner >= 0)
        self._reach(int(self._owner[owned].max(initial=-1)) + 1)
        self._slot_of[self._owner[owned]] = owned

    def _reach(self, rows: int) -> None:
        self._slot_of = grown(self._slot_of, rows, NOBODY)
