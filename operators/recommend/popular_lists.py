"""Lists for everybody: what is popular, in the shop and in parts of it, and what trends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.candidates.trending import Trending
from operators.recommend.price_levels import levels
from operators.recommend.rendering import own
from state.interactions import NOBODY, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.recommend.candidates.popularity import Popularity, ScopedPopularity
    from operators.recommend.rendering import Captions, RankedLists
    from operators.recommend.rules.rules import Rules
    from state.interactions import Events, Interactions, Lists, Rows


class PopularLists:
    """Popularity by scope and trends beside the learner of popularity; k items of each, without what
    is sold out. `place` is that learner's among all of them.
    """

    def __init__(
        self,
        popularity: Popularity,
        scoped: ScopedPopularity,
        rules: Rules,
        captions: Captions,
        k: int,
        place: int,
    ) -> None:
        self._popularity = popularity
        self.scoped = scoped
        self.trending = Trending(usual_half_life_ms=popularity.clock.half_life_ms)
        self.scopes = Vocabulary()
        self._rules = rules
        self._captions = captions
        self._k = k
        self._place = place

    def learn(self, events: Events, batch: Interactions) -> None:
        """Learn a batch of events; `batch` has their rows."""
        self.trending.learn_many(batch)
        for kind, values in (
            ("category", events.categories),
            ("segment", events.segments),
            ("country", events.countries),
            ("price", levels(self._rules.facts.price[batch.item])),
        ):
            if values:
                scope = self._rows(kind, values)
                self.scoped.learn_many(scope, batch.item, batch.weight, batch.at_ms)

    def popular(self) -> RankedLists:
        """One list: what everybody looks at."""
        return self._told(self._popularity.top(self._k, self._rules.sold_out()))

    def trending_now(self, now_ms: int) -> RankedLists:
        """One list: what is looked at more than usual; the score is how many times as much."""
        sold_out = self._rules.sold_out()
        return self._told(self.trending.top(self._popularity, now_ms, self._k, sold_out))

    def popular_scopes(self) -> tuple[list[tuple[str, str]], RankedLists]:
        """The scopes that changed since last asked, as (kind, value), and what is popular there."""
        rows = self.scoped.take_changed()
        names = [self.scopes.ids[row].partition(".") for row in rows.tolist()]
        lists = self.scoped.top(rows, self._k, self._rules.sold_out_flags)
        return [(kind, value) for kind, _, value in names], self._told(lists)

    def change_holding(self, items: Rows) -> None:
        """Count every list of a scope that these belong to as changed."""
        self.scoped.table.change_holding(items)

    def change_all(self) -> None:
        """Count every list of a scope as changed."""
        self.scoped.table.change_all()

    def forget_items(self, rows: Rows) -> None:
        """Nobody ever looked at these items."""
        self.scoped.forget_items(rows)
        self.trending.forget_items(rows)

    def _told(self, lists: Lists) -> RankedLists:
        return self._captions.of(own(lists, self._place), self._popularity.name)

    def _rows(self, kind: str, values: Sequence[str | None]) -> Rows:
        row = self.scopes.row
        rows = {v: NOBODY if v is None else row(f"{kind}.{v}") for v in dict.fromkeys(values)}
        return np.fromiter(map(rows.__getitem__, values), np.int32, len(values))
