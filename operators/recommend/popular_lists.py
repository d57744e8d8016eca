"""Lists that are no shopper's: popular items of the shop and of its scopes, and trending items.

A scope is a category, a segment, a country or a price band. To add a kind: a line in `learn`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.candidates.trending import Trending
from operators.recommend.price_levels import price_bands
from operators.recommend.reasons import with_default_reason
from operators.tables.removal import KeepsNoRows
from state.arrays import NO_ROW
from state.interactions import RowIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from operators.catalogue.item_features import ItemFeatures
    from operators.recommend.candidates.popularity import Popularity
    from operators.recommend.candidates.scoped_popularity import ScopedPopularity
    from operators.recommend.rendering import ListRenderer, RankedLists
    from operators.recommend.rules.out_of_stock import OutOfStock
    from state.arrays import Rows
    from state.interactions import EventColumns, Interactions, ScoredLists


class PopularLists(KeepsNoRows):
    """The most popular k items of the shop and of each scope, and the k that trend most, if not sold
    out.

    `popularity` is the learner, which learns elsewhere; `popularity_index` is its index among the
    learners.
    """

    def __init__(
        self,
        popularity: Popularity,
        scoped: ScopedPopularity,
        item_features: ItemFeatures,
        out_of_stock: OutOfStock,
        renderer: ListRenderer,
        k: int,
        popularity_index: int,
    ) -> None:
        self._popularity = popularity
        self.scoped = scoped
        self.trending = Trending(long_half_life_ms=popularity.clock.half_life_ms)
        self.scopes = RowIndex()
        self._item_features = item_features
        self._out_of_stock = out_of_stock
        self._renderer = renderer
        self._k = k
        self._popularity_index = popularity_index

    def learn(self, events: EventColumns, batch: Interactions) -> None:
        """Learn a batch of events. `batch` holds the rows of the same events."""
        self.trending.learn_many(batch)
        scopes = [
            self._scope_rows(kind, values)
            for kind, values in (
                ("category", events.categories),
                ("segment", events.segments),
                ("country", events.countries),
                ("price", price_bands(self._item_features.price[batch.item])),
            )
            if values
        ]
        # A scope is of one kind: all kinds at once are learned as one after the other.
        kinds = len(scopes)
        self.scoped.learn_many(
            np.concatenate(scopes),
            np.tile(batch.item, kinds),
            np.tile(batch.weight, kinds),
            np.tile(batch.at_ms, kinds),
        )

    def popular_list(self) -> RankedLists:
        """One list: the most popular items of the shop."""
        return self._render(self._popularity.top(self._k, self._out_of_stock.rows()))

    def trending_list(self, now_ms: int) -> RankedLists:
        """One list: items viewed more than usual. The score is how many times as much."""
        sold_out = self._out_of_stock.rows()
        return self._render(self.trending.top(self._popularity, now_ms, self._k, sold_out))

    def take_changed_scopes(self) -> tuple[list[tuple[str, str]], RankedLists]:
        """The scopes whose list changed since the last call, as (kind, value), and their lists."""
        rows = self.scoped.take_changed()
        names = [self.scopes.ids[row].partition(".") for row in rows.tolist()]
        lists = self.scoped.top(rows, self._k, self._out_of_stock.flags)
        return [(kind, value) for kind, _, value in names], self._render(lists)

    def mark_lists_containing(self, items: Rows) -> None:
        """Mark every list of a scope that holds one of these items as changed."""
        self.scoped.table.mark_rows_containing(items)

    def mark_all(self) -> None:
        """Mark every list of a scope as changed."""
        self.scoped.table.mark_all()

    def remove_items(self, rows: Rows) -> None:
        """Remove what is counted of these items."""
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
