"""From rows back to words: the ids and reasons of ranked lists."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from state.interactions import NOBODY

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from state.interactions import Lists, Rows

REASONS = {"popularity": "popular"}
"""What a list says of a learner that named no single item, where that is not its own name."""
SCORE_DECIMALS = 4


def reason_row(place: int) -> int:
    """The `because` that stands for the learner at this place instead of for an item."""
    return NOBODY - 1 - place


class Captions:
    """Ids and reasons by row, as object arrays: a whole batch is captioned by three look-ups."""

    def __init__(self, learners: Sequence[str]) -> None:
        self._heads = len(learners) + 1
        self._ids = np.empty(0, np.object_)
        heads = ["", *(REASONS.get(name, name) for name in learners)]
        self._reasons: NDArray[np.object_] = np.array(heads[::-1], np.object_)

    def cover(self, ids: Sequence[str]) -> None:
        """Take over the ids that are new at the end of the vocabulary."""
        known = len(self._ids)
        if known < len(ids):
            new = ids[known:]
            because = [f"because:{name}" for name in new]
            self._ids = np.concatenate([self._ids, np.array(new, np.object_)])
            self._reasons = np.concatenate([self._reasons, np.array(because, np.object_)])

    def ids(self, item: Rows) -> list[str]:
        """The ids of rows."""
        names: list[str] = self._ids[item].tolist()
        return names

    def reasons(self, because: Rows) -> list[str]:
        """`because:<id>` of a row, the learner's word of a `reason_row`, nothing of NOBODY."""
        names: list[str] = self._reasons[because + self._heads].tolist()
        return names


@dataclass(slots=True)
class RankedLists:
    """Lists as they are shown: n rows, and who made them."""

    lists: Lists
    captions: Captions
    source: str

    def __len__(self) -> int:
        return len(self.lists.item)

    def entries(self) -> list[list[tuple[str, float, str]]]:
        """For each request its (item id, score, reason), best first, as the key contract has it."""
        known = self.lists.item >= 0
        score = self.lists.score[known].astype(np.float64).round(SCORE_DECIMALS).tolist()
        item, because = self.lists.item[known], self.lists.because[known]
        flat = list(
            zip(self.captions.ids(item), score, self.captions.reasons(because), strict=True)
        )
        ends = [0, *known.sum(axis=1).cumsum().tolist()]
        return [flat[start:end] for start, end in pairwise(ends)]
