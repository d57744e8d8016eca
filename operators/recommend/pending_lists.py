"""The learners' candidates for published lists, kept for a sample of shoppers until their next click.

So the blend learns from lists as they are read: in some shops that is hours after they were made. The
names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from operators.kernels.ranking.blend_features import POSITIONS, SCORE_MIN
from operators.tables.array_ops import grow, isin_rows
from operators.tables.table import Table, TableState
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.recommend.candidates.learner_lists import LearnerLists
    from operators.tables.table import Arrays
    from state.arrays import Rows, Times, Weights
    from state.interactions import Interactions

SLOTS = 16_384
"""Lists kept at most. Of two shoppers of one slot, the one with the newer list."""
LIST_EXPIRES_MS = 86_400_000
"""An older list has expired."""


class CandidateLists(NamedTuple):
    """Candidates of n lists: item int32[n, learners, POSITIONS], score float32 of the same shape, as a
    share of the learner's best score, and the class of the context, int8[n]."""

    item: Rows
    score: Weights
    context_class: NDArray[np.int8]


def candidate_arrays(
    lists: LearnerLists, context_class: NDArray[np.int8], rows: NDArray[np.intp]
) -> CandidateLists:
    """The learners' candidates, of some rows of their lists."""
    item = lists.item[:, rows, :POSITIONS].transpose(1, 0, 2)
    score = lists.score[:, rows, :POSITIONS].transpose(1, 0, 2)
    return CandidateLists(
        np.ascontiguousarray(item), np.ascontiguousarray(score), context_class[rows]
    )


class PendingLists(TableState):
    """Candidates of one list a slot; 877 bytes a slot with six learners.

    item int32[slots, learners, POSITIONS], score float16 of the same shape
    context_class int8[slots]                   stored as `situation`
    shopper int32[slots], at_ms int64[slots]    the owner, and their newest click at that time
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._names = tuple(names)
        self.slots = 0
        self._item = np.empty((0, len(names), POSITIONS), np.int32)
        self._score = np.empty((0, len(names), POSITIONS), np.float16)
        self._context_class = np.empty(0, np.int8)
        self._shopper = np.empty(0, np.int32)
        self._at_ms = np.empty(0, np.int64)
        self._dirty_rows = DirtyRows()

    @staticmethod
    def sample(shopper: Rows, at_ms: Times, one_in: int) -> NDArray[np.intp]:
        """The indexes of the shoppers whose lists are kept: one in so many, by row and time.

        >>> len(PendingLists.sample(np.arange(-1, 1000), np.full(1001, 60_000), 10))
        100
        """
        draw = shopper.astype(np.uint64) * _SPREAD + at_ms.astype(np.uint64) // _SECOND
        return np.flatnonzero((shopper >= 0) & (draw % np.uint64(one_in) == 0))

    def store(self, shopper: Rows, candidates: CandidateLists, at_ms: Times) -> None:
        """Keep candidates of shoppers, each given once, with their newest click (ms)."""
        if not len(shopper):
            return
        slot, width = shopper % SLOTS, candidates.item.shape[2]
        self._ensure_slots(int(slot.max()) + 1)
        best = np.maximum(candidates.score[:, :, :1], np.finfo(np.float32).tiny)
        self._item[slot, :, :width], self._item[slot, :, width:] = candidates.item, NO_ROW
        self._score[slot, :, :width] = np.maximum(candidates.score / best, SCORE_MIN / 2)
        self._context_class[slot] = candidates.context_class
        self._shopper[slot], self._at_ms[slot] = shopper, at_ms
        self._dirty_rows.mark(slot)

    def take_for(self, batch: Interactions) -> tuple[NDArray[np.intp], CandidateLists]:
        """The index of the first click of each shopper with a list, and the candidates of that list.

        The candidates are removed. A click from before the list, or after it expired, evaluates nothing.
        """
        waiting = np.flatnonzero(self._has_list(batch.shopper))
        _, first = np.unique(batch.shopper[waiting], return_index=True)
        case = waiting[np.sort(first)]
        slot = batch.shopper[case] % SLOTS
        self._shopper[slot] = NO_ROW
        self._dirty_rows.mark(slot)
        waited_ms = batch.at_ms[case] - self._at_ms[slot]
        is_current = (waited_ms >= 0) & (waited_ms < LIST_EXPIRES_MS)
        case, slot = case[is_current], slot[is_current]
        score = self._score[slot].astype(np.float32)
        return case, CandidateLists(self._item[slot], score, self._context_class[slot])

    def merge(self, row: int, into: int) -> None:
        """Drop the list that waits for the click of a shopper who was merged."""
        self.remove_shoppers(np.array([row], np.int32))

    def remove_shoppers(self, rows: Rows) -> None:
        """Remove the lists of these shoppers."""
        slot = rows[self._has_list(rows)] % SLOTS
        self._shopper[slot] = NO_ROW
        self._dirty_rows.mark(slot)

    def remove_items(self, rows: Rows) -> None:
        """Remove these items from all lists."""
        item = self._item[: self.slots]
        is_removed = isin_rows(item, rows)
        item[is_removed] = NO_ROW
        self._dirty_rows.mark(np.flatnonzero(is_removed.any(axis=(1, 2))))

    def tables(self) -> Sequence[Table]:
        """The slots; candidates under the names of the learners."""
        end = self.slots
        columns: Arrays = {
            "situation": self._context_class[:end],
            "shopper": self._shopper[:end],
            "at_ms": self._at_ms[:end],
            **{f"item/{name}": self._item[:end, at] for at, name in enumerate(self._names)},
            **{f"score/{name}": self._score[:end, at] for at, name in enumerate(self._names)},
        }
        return [Table(columns, self._dirty_rows).prefixed(f"{SLOTS}-{POSITIONS}/")]

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot; a learner that is not in them has no candidates."""
        prefix = f"{SLOTS}-{POSITIONS}/"
        if f"{prefix}shopper" not in arrays:
            return
        self._shopper = arrays[f"{prefix}shopper"].astype(np.int32)
        self._at_ms = arrays[f"{prefix}at_ms"].astype(np.int64)
        self._context_class = arrays[f"{prefix}situation"].astype(np.int8)
        self.slots = len(self._shopper)
        self._dirty_rows = DirtyRows(self.slots)
        lists = (self.slots, len(self._names), POSITIONS)
        self._item, self._score = np.full(lists, NO_ROW, np.int32), np.zeros(lists, np.float16)
        for at, name in enumerate(self._names):
            if f"{prefix}item/{name}" in arrays:
                self._item[:, at] = arrays[f"{prefix}item/{name}"]
                self._score[:, at] = arrays[f"{prefix}score/{name}"]

    def _has_list(self, shopper: Rows) -> NDArray[np.bool_]:
        """Whether each shopper row has a list here."""
        if not self.slots:
            return np.zeros(len(shopper), np.bool_)
        slot = np.minimum(shopper % SLOTS, self.slots - 1)
        return np.asarray((shopper >= 0) & (self._shopper[slot] == shopper))

    def _ensure_slots(self, slots: int) -> None:
        if slots > self.slots:
            self._item = grow(self._item, slots, NO_ROW)
            self._score = grow(self._score, slots, 0)
            self._context_class = grow(self._context_class, slots, 0)
            self._shopper = grow(self._shopper, slots, NO_ROW)
            self._at_ms = grow(self._at_ms, slots, 0)
            self._dirty_rows.ensure_rows(slots)
            self.slots = slots


_SPREAD = np.uint64(2_654_435_761)
_SECOND = np.uint64(1000)
