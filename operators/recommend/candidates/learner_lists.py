"""The candidates of all learners side by side, so that one kernel reads them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

import numpy as np

from state.interactions import ScoredLists

if TYPE_CHECKING:
    from state.arrays import Rows, Weights


class LearnerLists(Sequence[ScoredLists]):
    """The lists of each learner, in their order; all of one length.

    item, reason_item int32[learners, n, positions], score float32 of the same shape.
    """

    __slots__ = ("item", "reason_item", "score")

    def __init__(self, item: Rows, score: Weights, reason_item: Rows) -> None:
        self.item = item
        self.score = score
        self.reason_item = reason_item

    @classmethod
    def stack(cls, lists: Sequence[ScoredLists]) -> LearnerLists:
        """The lists as one block; themselves if they are one already."""
        if isinstance(lists, cls):
            return lists
        return cls(
            np.stack([one.item for one in lists]),
            np.stack([one.score for one in lists]),
            np.stack([one.reason_item for one in lists]),
        )

    @classmethod
    def join(cls, parts: Sequence[LearnerLists]) -> LearnerLists:
        """The lists of parts of the requests, in order; the part itself if there is one."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.item for part in parts], axis=1),
            np.concatenate([part.score for part in parts], axis=1),
            np.concatenate([part.reason_item for part in parts], axis=1),
        )

    def __len__(self) -> int:
        return len(self.item)

    @overload
    def __getitem__(self, index: int) -> ScoredLists: ...
    @overload
    def __getitem__(self, index: slice) -> LearnerLists: ...
    def __getitem__(self, index: int | slice) -> ScoredLists | LearnerLists:
        """The lists of one learner as a view, or those of some learners."""
        made = ScoredLists if isinstance(index, int) else LearnerLists
        return made(self.item[index], self.score[index], self.reason_item[index])

    def __iter__(self) -> Iterator[ScoredLists]:
        return map(self.__getitem__, range(len(self)))
