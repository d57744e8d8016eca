"""Similar items by their cards: category, brand, price and name. It also finds new items.

An item is a candidate as soon as its card is known, before anyone viewed it. The constants were chosen
with `make quality`: change them only with its figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.ranking.content import content
from operators.recommend.candidates.item_attributes import ItemAttributes
from operators.recommend.candidates.name_hashes import SIMILARITY_BY_BITS
from operators.tables.score_sums import ROWS_PER_CHUNK, best_items
from operators.tables.table import Table, TableState
from operators.tables.top_partners import TopPartners
from state.interactions import empty_lists
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags
    from operators.tables.replication import Replicated
    from operators.tables.table import Arrays
    from state.arrays import Rows, Weights
    from state.interactions import Interactions, ItemCard, ListRequests, ScoredLists

NEW_ITEM_WEIGHT = 1.0
"""The weight of a new card in its groups: that of a view."""


class Content(TableState):
    """The most popular items of the groups of what the shopper viewed, the most similar first.

    Candidates are the `width` heaviest items in the categories of the last `context_items` items of the
    session, each of which counts `position_decay` times the one after it, and in the brand of the
    newest. A score is the item's weight in the group to the power of `popularity_exponent`, times e to
    the sum of its similarities: `category` for the same category, `brand` for the same brand (half of
    it in another category), `price` for the same price (a quarter of it at twice the price), `text` for
    the same name.
    """

    name = "content"
    is_reranker = False

    def __init__(
        self,
        *,
        width: int = 64,
        half_life_ms: int = 7 * DAY_MS,
        context_items: int = 2,
        position_decay: float = 0.2,
        popularity_exponent: float = 0.8,
        category: float = 3.0,
        brand: float = 2.0,
        price: float = 3.0,
        text: float = 3.0,
    ) -> None:
        self.table = TopPartners(width, half_life_ms)
        self.attributes = ItemAttributes(category, brand, price, text)
        self.context_items = context_items
        self.position_decay = position_decay
        self.popularity_exponent = popularity_exponent

    @property
    def items(self) -> int:
        """The number of item rows; items beyond have no card."""
        return self.attributes.items

    def update_items(self, rows: Rows, cards: Sequence[ItemCard]) -> None:
        """Learn new or changed cards of items, each given once."""
        if not len(rows):
            return
        changed, groups = self.attributes.update(rows, cards)
        at_ms = np.array([cards[card].at_ms for card in changed.tolist()], np.int64)
        self._add(groups, rows[changed], np.full(len(changed), NEW_ITEM_WEIGHT), at_ms)
        self.table.remove_rows(self.attributes.groups.take_freed())

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in order of arrival; items without a card are left out."""
        known = batch.item < self.items
        item = batch.item[known]
        group = self.attributes.group[item]
        event, column = np.nonzero(group >= 0)
        weight, at_ms = batch.weight[known][event], batch.at_ms[known][event]
        self._add(group[event, column], item[event], weight, at_ms)

    def _add(self, group: Rows, item: Rows, weight: Weights, at_ms: NDArray[np.int64]) -> None:
        self.table.add(group, item, weight.astype(np.float32), at_ms)

    def candidates(self, requests: ListRequests, k: int) -> ScoredLists:
        """At most k items for each request."""
        return self._rank(requests.context, k)

    def neighbours(self, items: Rows, k: int, sold_out: Flags | None = None) -> ScoredLists:
        """The most similar items of each of these, without sold-out ones; scores are shares."""
        wide = (self.context_items + 1) * self.table.width
        lists = empty_lists(len(items), k)
        for start in range(0, len(items), ROWS_PER_CHUNK):
            part = slice(start, start + ROWS_PER_CHUNK)
            ranked = self._rank(np.ascontiguousarray(items[part, None]), wide)
            score = ranked.score
            score[ranked.item == items[part, None]] = 0
            if sold_out is not None:
                score[sold_out[ranked.item]] = 0
            score /= np.maximum(score.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
            best = best_items(ranked.item, score, ranked.reason_item, k, repeats=1)
            lists.item[part], lists.score[part] = best.item, best.score
            lists.reason_item[part] = best.reason_item
        return lists

    def groups_of(self, rows: Rows) -> Rows:
        """The groups of these items, each once."""
        return self.attributes.groups_of(rows)

    def members_of(self, groups: Rows) -> Rows:
        """The items in any of these groups: a sweep over all items."""
        return self.attributes.members_of(groups)

    def _rank(self, context: Rows, k: int) -> ScoredLists:
        """The k best items for sessions int32[n, r]."""
        lists = empty_lists(len(context), k)
        positions = np.arange(min(self.context_items, context.shape[1]), dtype=np.float32)
        rows = self.table.rows
        content(
            context,
            self.table.partner[:rows],
            self.table.weight[:rows],
            *self.attributes.replicated_columns(),
            self.attributes.similarity_weights,
            SIMILARITY_BY_BITS,
            np.float32(self.position_decay) ** positions,
            np.float32(self.popularity_exponent),
            lists.item,
            lists.score,
            lists.reason_item,
        )
        return lists

    def remove_shoppers(self, rows: Rows) -> None:
        """Nothing is stored of single shoppers."""

    def remove_items(self, rows: Rows) -> None:
        """Remove the cards of these items."""
        self.attributes.remove_items(rows)
        self.table.remove_partners(rows)
        self.table.remove_rows(self.attributes.groups.take_freed())

    def replicated_tables(self) -> Sequence[Replicated]:
        """The attributes of each item, the items of each group. Names of groups serve learning alone."""
        return (self.attributes, self.table)

    def tables(self) -> Sequence[Table]:
        """The attributes of each item, the items of each group, the groups, the words."""
        attributes, *others = self.attributes.tables()
        return [attributes, *self.table.tables(), *others]

    def scalars(self) -> Arrays:
        """The clock of the decay."""
        return self.table.scalars()

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self.table.restore(arrays)
        self.attributes.restore(arrays)
