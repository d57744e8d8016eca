"""Trending items, viewed more than before: the ratio of two decayed counts of an item.

Not a candidate generator: the blend does not get this list.
"""

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
"""The long half-life is so many times the short one."""
PRIOR_VIEWS = 8.0
"""Views added to the usual ones, so that three clicks on an unknown item are no trend."""


class Trending(TableState):
    """Popularity with a short half-life, which is divided by the popularity with the long one.

    An item's trend is its present rate of views over its usual rate, to which `PRIOR_VIEWS` views
    within the long half-life are added.
    """

    def __init__(self, *, long_half_life_ms: int) -> None:
        self.short_term = Popularity(
            half_life_ms=max(1, long_half_life_ms // SHORT_HALF_LIFE_DIVISOR)
        )

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in order of arrival."""
        self.short_term.learn_many(batch)

    def top(self, long_term: Popularity, now_ms: int, k: int, excluded: Rows) -> ScoredLists:
        """One list: at most k items with more than their usual rate; the score is how many times as
        much."""
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
        """Remove what was learned of these items."""
        self.short_term.remove_items(rows)

    def tables(self) -> Sequence[Table]:
        """The weight of each item."""
        return self.short_term.tables()

    def scalars(self) -> Arrays:
        """The clock of the decay."""
        return self.short_term.scalars()

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self.short_term.restore(arrays)
