"""Lists for everybody: what is popular, in the shop and in parts of it, and what trends."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.candidates.trending import Trending
from operators.recommend.price_levels import price_bands
from operators.recommend.rendering import with_default_reason
from state.arrays import NO_ROW
from state.interactions import RowIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.recommend.candidates.popularity import Popularity, ScopedPopularity
    from operators.recommend.rendering import ListRenderer, RankedLists
    from operators.recommend.rules.rules import RuleChain
    from state.arrays import Rows
    from state.interactions import EventColumns, Interactions, ScoredLists


class PopularLists:
    """Popularity by scope and trends beside the learner of popularity; k items of each, without what
    is sold out. `popularity_index` is that learner's among all of them.
    """

    def __init__(
        self,
        popularity: Popularity,
        scoped: ScopedPopularity,
        rules: RuleChain,
        renderer: ListRenderer,
        k: int,
        popularity_index: int,
    ) -> None:
        self._popularity = popularity
        self.scoped = scoped
        self.trending = Trending(long_half_life_ms=popularity.clock.half_life_ms)
        self.scopes = RowIndex()
        self._rules = rules
        self._renderer = renderer
        self._k = k
        self._popularity_index = popularity_index

    def learn(self, events: EventColumns, batch: Interactions) -> None:
        """Learn a batch of events; `batch` has their rows."""
        self.trending.learn_many(batch)
        for kind, values in (
            ("category", events.categories),
            ("segment", events.segments),
            ("country", events.countries),
            ("price", price_bands(self._rules.item_features.price[batch.item])),
        ):
            if values:
                scope = self._scope_rows(kind, values)
                self.scoped.learn_many(scope, batch.item, batch.weight, batch.at_ms)

    def popular_list(self) -> RankedLists:
        """One list: what everybody looks at."""
        return self._render(self._popularity.top(self._k, self._rules.sold_out()))

    def trending_list(self, now_ms: int) -> RankedLists:
        """One list: what is looked at more than usual; the score is how many times as much."""
        sold_out = self._rules.sold_out()
        return self._render(self.trending.top(self._popularity, now_ms, self._k, sold_out))

    def take_changed_scopes(self) -> tuple[list[tuple[str, str]], RankedLists]:
        """The scopes that changed since last asked, as (kind, value), and what is popular there."""
        rows = self.scoped.take_changed()
        names = [self.scopes.ids[row].partition(".") for row in rows.tolist()]
        lists = self.scoped.top(rows, self._k, self._rules.sold_out_flags)
        return [(kind, value) for kind, _, value in names], self._render(lists)

    def mark_lists_containing(self, items: Rows) -> None:
        """Count every list of a scope that these belong to as changed."""
        self.scoped.table.mark_rows_containing(items)

    def mark_all(self) -> None:
        """Count every list of a scope as changed."""
        self.scoped.table.mark_all()

    def remove_items(self, rows: Rows) -> None:
        """Nobody ever looked at these items."""
        self.scoped.remove_items(rows)
        self.trending.remove_items(rows)

    def _render(self, lists: ScoredLists) -> RankedLists:
        return self._renderer.render(
            with_default_reason(lists, self._popularity_index), self._popularity.name
        )

    def _scope_rows(self, kind: str, values: Sequence[str | None]) -> Rows:
        row = self.scopes.get_or_add
        rows = {v: NO_ROW if v is None else row(f"{kind}.{v}") for v in dict.fromkeys(values)}
        return np.fromiter(map(rows.__getitem__, values), np.int32, len(values))
