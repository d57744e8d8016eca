"""What is looked at more than it was: the ratio of two decayed counts of an item."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.candidates.popularity import Popularity, top_list
from operators.tables.table import TableState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.tables.table import Arrays, Table
    from state.arrays import Rows
    from state.interactions import Interactions, ScoredLists

SHORT_HALF_LIFE_DIVISOR = 12
"""How much shorter the half-life of what is looked at now is than that of what usually is."""
PRIOR_VIEWS = 8.0
"""Views beside the usual ones, so that three clicks on an item nobody knows are no trend yet."""


class Trending(TableState):
    """Popularity of a half-life `SHORT_HALF_LIFE_DIVISOR` times shorter, to be held against the
    usual one.

    An item's trend is how many times its usual rate of views, plus that of `PRIOR_VIEWS` views within
    the long half-life, it has now.
    """

    def __init__(self, *, long_half_life_ms: int) -> None:
        self.short_term = Popularity(
            half_life_ms=max(1, long_half_life_ms // SHORT_HALF_LIFE_DIVISOR)
        )

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order."""
        self.short_term.learn_many(batch)

    def top(self, long_term: Popularity, now_ms: int, k: int, excluded: Rows) -> ScoredLists:
        """One list: at most k items that have more than their usual rate, by how many times."""
        n = min(self.short_term.items, long_term.items)
        recent = self.short_term.count[:n] * np.float32(
            SHORT_HALF_LIFE_DIVISOR * self.short_term.clock.decode_scale(now_ms)
        )
        expected = long_term.count[:n] * np.float32(long_term.clock.decode_scale(now_ms))
        ratio = recent / (expected + np.float32(PRIOR_VIEWS))
        ratio[ratio <= 1] = 0
        ratio[excluded[excluded < n]] = 0
        return top_list(ratio, k)

    def remove_items(self, rows: Rows) -> None:
        """These items were never seen."""
        self.short_term.remove_items(rows)

    def tables(self) -> Sequence[Table]:
        """The weight of each item."""
        return self.short_term.tables()

    def scalars(self) -> Arrays:
        """The clock."""
        return self.short_term.scalars()

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.short_term.restore(arrays)
