"""What is looked at more than it was: the ratio of two decayed counts of an item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.candidates.popularity import Popularity, highest
from operators.tables.table import Kept

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.tables.table import Arrays, Table
    from state.interactions import Interactions, Lists, Rows

FASTER = 12
"""How much shorter the half-life of what is looked at now is than that of what usually is."""
USUAL_MIN = 8.0
"""Views beside the usual ones, so that three clicks on an item nobody knows are no trend yet."""


class Trending(Kept):
    """Popularity of a half-life `FASTER` times shorter, to be held against the usual one.

    An item's trend is how many times its usual rate of views, plus that of `USUAL_MIN` views within
    the long half-life, it has now.
    """

    def __init__(self, *, usual_half_life_ms: int) -> None:
        self.now = Popularity(half_life_ms=max(1, usual_half_life_ms // FASTER))

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order."""
        self.now.learn_many(batch)

    def top(self, usual: Popularity, now_ms: int, k: int, without: Rows) -> Lists:
        """One list: at most k items that have more than their usual rate, by how many times."""
        n = min(self.now.items, usual.items)
        now = self.now.count[:n] * np.float32(FASTER * self.now.clock.left(now_ms))
        before = usual.count[:n] * np.float32(usual.clock.left(now_ms))
        ratio = now / (before + np.float32(USUAL_MIN))
        ratio[ratio <= 1] = 0
        ratio[without[without < n]] = 0
        return highest(ratio, k)

    def forget_items(self, rows: Rows) -> None:
        """These items were never seen."""
        self.now.forget_items(rows)

    def tables(self) -> Sequence[Table]:
        """The weight of each item."""
        return self.now.tables()

    def small(self) -> Arrays:
        """The clock."""
        return self.now.small()

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.now.restore(arrays)
