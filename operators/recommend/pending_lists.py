"""What the learners named when lists were made, of a sample of shoppers, until their next click.

So the blend learns from lists as they are read: in some shops that is hours after they were made. The
names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.recommend.blend_model import PLACES, SCORE_MIN
from operators.tables.table import Kept, Table
from operators.tables.top_partners import among, grown
from state.dirty_rows import Marks
from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.interactions import Interactions, Lists, Rows, Times, Weights

SLOTS = 16_384
"""Lists remembered at most; of two shoppers of one slot the one who asked last."""
WAIT_MAX_MS = 86_400_000
"""A list that stands longer has expired."""


class Named(NamedTuple):
    """Lists of n shoppers: item int32[n, learners, PLACES], score float32 of the same shape, against
    the best of each list, and the `situation` int[n] in which they were made."""

    item: Rows
    score: Weights
    situation: NDArray[np.intp]


def named(lists: Sequence[Lists], situation: NDArray[np.intp], rows: NDArray[np.intp]) -> Named:
    """What learners name, of some rows of their lists."""
    item = np.stack([one.item[rows, :PLACES] for one in lists], axis=1)
    score = np.stack([one.score[rows, :PLACES] for one in lists], axis=1)
    return Named(item, score, situation[rows])


class Pending(Kept):
    """The lists of a sample of shoppers, each until its shopper's next click.

    item int32[slots, learners, PLACES], score float16 of the same shape, situation int8[slots],
    shopper int32[slots], at_ms int64[slots]: the newest click by then. 877 bytes a slot of six learners.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self.slots = 0
        self._item = np.empty((0, len(names), PLACES), np.int32)
        self._score = np.empty((0, len(names), PLACES), np.float16)
        self._situation = np.empty(0, np.int8)
        self._shopper = np.empty(0, np.int32)
        self._at_ms = np.empty(0, np.int64)
        self._marks = Marks()

    @staticmethod
    def sample(shopper: Rows, at_ms: Times, every: int) -> NDArray[np.intp]:
        """Which of some shoppers, by their places, are remembered: one in so many, by row and time.

        >>> len(Pending.sample(np.arange(-1, 1000), np.full(1001, 60_000), 10))
        100
        """
        drawn = shopper.astype(np.uint64) * _SPREAD + at_ms.astype(np.uint64) // _SECOND
        return np.flatnonzero((shopper >= 0) & (drawn % np.uint64(every) == 0))

    def remember(self, shopper: Rows, of: Named, at_ms: Times) -> None:
        """Shoppers, each once, have lists now that were made of these; as of their newest clicks."""
        if not len(shopper):
            return
        slot, width = shopper % SLOTS, of.item.shape[2]
        self._reach(int(slot.max()) + 1)
        best = np.maximum(of.score[:, :, :1], np.finfo(np.float32).tiny)
        self._item[slot, :, :width], self._item[slot, :, width:] = of.item, NOBODY
        self._score[slot, :, :width] = np.maximum(of.score / best, SCORE_MIN / 2)
        self._situation[slot] = of.situation
        self._shopper[slot], self._at_ms[slot] = shopper, at_ms
        self._marks.mark(slot)

    def take(self, batch: Interactions) -> tuple[NDArray[np.intp], Named]:
        """The first click in a batch of each shopper with a list, by its place, and what was named.

        That is forgotten then. For a click from before the list, or after it expired, none stood.
        """
        there = np.flatnonzero(self._held(batch.shopper))
        _, first = np.unique(batch.shopper[there], return_index=True)
        case = there[np.sort(first)]
        slot = batch.shopper[case] % SLOTS
        self._shopper[slot] = NOBODY
        self._marks.mark(slot)
        waited_ms = batch.at_ms[case] - self._at_ms[slot]
        stood = (waited_ms >= 0) & (waited_ms < WAIT_MAX_MS)
        case, slot = case[stood], slot[stood]
        score = self._score[slot].astype(np.float32)
        return case, Named(self._item[slot], score, self._situation[slot].astype(np.intp))

    def forget_shoppers(self, rows: Rows) -> None:
        """These shoppers have no list."""
        slot = rows[self._held(rows)] % SLOTS
        self._shopper[slot] = NOBODY
        self._marks.mark(slot)

    def forget_items(self, rows: Rows) -> None:
        """Nobody named these items."""
        item = self._item[: self.slots]
        gone = among(item, rows)
        item[gone] = NOBODY
        self._marks.mark(np.flatnonzero(gone.any(axis=(1, 2))))

    def tables(self) -> Sequence[Table]:
        """The slots; lists by the names of learners."""
        end = self.slots
        columns: Arrays = {
            "situation": self._situation[:end],
            "shopper": self._shopper[:end],
            "at_ms": self._at_ms[:end],
            **{f"item/{name}": self._item[:end, at] for at, name in enumerate(self._names)},
            **{f"score/{name}": self._score[:end, at] for at, name in enumerate(self._names)},
        }
        return [Table(columns, self._marks).named(f"{SLOTS}-{PLACES}/")]

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave; of a learner that is not in it nothing is known."""
        shape = f"{SLOTS}-{PLACES}/"
        if f"{shape}shopper" not in arrays:
            return
        self._shopper = arrays[f"{shape}shopper"].astype(np.int32)
        self._at_ms = arrays[f"{shape}at_ms"].astype(np.int64)
        self._situation = arrays[f"{shape}situation"].astype(np.int8)
        self.slots = len(self._shopper)
        self._marks = Marks(self.slots)
        lists = (self.slots, len(self._names), PLACES)
        self._item, self._score = np.full(lists, NOBODY, np.int32), np.zeros(lists, np.float16)
        for at, name in enumerate(self._names):
            if f"{shape}item/{name}" in arrays:
                self._item[:, at] = arrays[f"{shape}item/{name}"]
                self._score[:, at] = arrays[f"{shape}score/{name}"]

    def _held(self, shopper: Rows) -> NDArray[np.bool_]:
        """Whether each of some rows has a list that is remembered."""
        if not self.slots:
            return np.zeros(len(shopper), np.bool_)
        slot = np.minimum(shopper % SLOTS, self.slots - 1)
        return np.asarray((shopper >= 0) & (self._shopper[slot] == shopper))

    def _reach(self, slots: int) -> None:
        if slots > self.slots:
            self._item = grown(self._item, slots, NOBODY)
            self._score = grown(self._score, slots, 0)
            self._situation = grown(self._situation, slots, 0)
            self._shopper = grown(self._shopper, slots, NOBODY)
            self._at_ms = grown(self._at_ms, slots, 0)
            self._marks.reach(slots)
            self.slots = slots


_SPREAD = np.uint64(2_654_435_761)
_SECOND = np.uint64(1000)
