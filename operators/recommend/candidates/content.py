"""Similar items by their cards: category, brand, price and name. It also finds new items.

An item is a candidate as soon as its card is known, before anyone viewed it. The constants were chosen
with `make quality`: change them only with its figures.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.candidates.groups import GroupIndex
from operators.recommend.candidates.name_hashes import NameHashes
from operators.tables.array_ops import first_occurrence, grow, isin_rows
from operators.tables.score_sums import ROWS_PER_CHUNK, best_items
from operators.tables.table import Table, TableState, strip_prefix
from operators.tables.top_partners import TopPartners
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows
from state.interactions import empty_lists
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags
    from operators.tables.table import Arrays
    from state.arrays import Rows, Weights
    from state.interactions import Interactions, ItemCard, ListRequests, ScoredLists

CATEGORY, BRAND = 0, 1
"""The groups of an item: its category (if it has none, a word of its name), and its brand."""
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

    group int32[items, 2]     rows of `GroupIndex`, NO_ROW if the card has none
    price float32[items]      logarithm, NaN if unknown
    name_hash uint64[items]   of `NameHashes`, stored as `code`
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
        self.groups = GroupIndex()
        self.name_hashes = NameHashes()
        self.context_items = context_items
        self.position_decay = position_decay
        self.popularity_exponent = popularity_exponent
        self.similarity_weights = (category, brand, price, text)
        self.items = 0
        self.group: Rows = np.empty((0, 2), np.int32)
        self.price: Weights = np.empty(0, np.float32)
        self.name_hash: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._dirty_rows = DirtyRows()

    def update_items(self, rows: Rows, cards: Sequence[ItemCard]) -> None:
        """Learn new or changed cards of items, each given once."""
        if not len(rows):
            return
        self._ensure_rows(int(rows.max()) + 1)
        self.price[rows] = [np.log(card.price) if card.price else np.nan for card in cards]
        words, self.name_hash[rows] = self.name_hashes.update([card.name or "" for card in cards])
        previous = self.group[rows]
        current = np.array(
            [
                (self.groups.row(_category_key(card, word)), self.groups.row(_brand_key(card)))
                for card, word in zip(cards, words, strict=True)
            ],
            np.int32,
        )
        self.group[rows] = current
        self.groups.count(current, previous)
        self._dirty_rows.mark(rows)
        at_ms = np.array([card.at_ms for card in cards], np.int64)
        event, column = np.nonzero((current != previous) & (current >= 0))
        self._add(
            current[event, column], rows[event], np.full(len(event), NEW_ITEM_WEIGHT), at_ms[event]
        )
        self.table.remove_rows(self.groups.take_freed())

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in order of arrival; items without a card are left out."""
        known = batch.item < self.items
        item = batch.item[known]
        group = self.group[item]
        event, column = np.nonzero(group >= 0)
        weight, at_ms = batch.weight[known][event], batch.at_ms[known][event]
        self._add(group[event, column], item[event], weight, at_ms)

    def _add(self, group: Rows, item: Rows, weight: Weights, at_ms: NDArray[np.int64]) -> None:
        self.table.add(group, item, weight.astype(np.float32), at_ms)

    def candidates(self, requests: ListRequests, k: int) -> ScoredLists:
        """At most k items for each request."""
        lists = empty_lists(len(requests), k)
        if self.items:
            for start in range(0, len(requests), ROWS_PER_CHUNK):
                part = slice(start, start + ROWS_PER_CHUNK)
                ranked = self._rank(
                    first_occurrence(requests.context[part, : self.context_items]), k
                )
                lists.item[part], lists.score[part] = ranked.item, ranked.score
                lists.reason_item[part] = ranked.reason_item
        return lists

    def neighbours(self, items: Rows, k: int, sold_out: Flags | None = None) -> ScoredLists:
        """The most similar items of each of these, without sold-out ones; scores are shares."""
        wide = (self.context_items + 1) * self.table.width
        lists = empty_lists(len(items), k)
        for start in range(0, len(items) if self.items else 0, ROWS_PER_CHUNK):
            part = slice(start, start + ROWS_PER_CHUNK)
            ranked = self._rank(items[part, None], wide)
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
        groups = np.unique(self.group[rows[rows < self.items]])
        return groups[groups >= 0]

    def members_of(self, groups: Rows) -> Rows:
        """The items in any of these groups: a sweep over all items."""
        is_member = isin_rows(self.group[: self.items], groups).any(axis=1)
        return np.flatnonzero(is_member).astype(np.int32)

    def _rank(self, context: Rows, k: int) -> ScoredLists:
        length = context.shape[1]
        known = (context >= 0) & (context < self.items)
        context = np.where(known, context, NO_ROW)
        reference = np.concatenate([context, context[:, :1]], axis=1)
        safe = np.where(reference >= 0, reference, 0)
        column = np.append(np.full(length, CATEGORY), BRAND)
        group = np.where(reference >= 0, self.group[safe, column], NO_ROW)
        item, weight = self.table.lookup(group)
        similarity, is_valid = self._similarity(np.maximum(item, 0), safe)
        # A group may still hold an item that was replaced or is in another group now.
        is_valid &= item >= 0
        position_weight = np.float32(self.position_decay) ** np.append(np.arange(length), 0).astype(
            np.float32
        )
        tiny = np.finfo(np.float32).tiny
        heaviest_weight = np.maximum(weight.max(axis=(1, 2), keepdims=True), tiny)
        share = np.log(np.maximum(weight / heaviest_weight, tiny))
        score = np.exp(similarity + share * np.float32(self.popularity_exponent))
        score *= position_weight[:, None]
        wide = (len(reference), -1)
        return best_items(
            np.where(is_valid, item, NO_ROW).reshape(wide),
            score.reshape(wide),
            np.repeat(reference, self.table.width, axis=1),
            k,
            repeats=length + 1,
        )

    def _similarity(self, item: Rows, reference: Rows) -> tuple[Weights, NDArray[np.bool_]]:
        """The similarity of items [n, r, w] to one item each [n, r], as an exponent, and whether they
        are of the same category, in the last r of the same brand.
        """
        category, brand, price, text = map(np.float32, self.similarity_weights)
        groups, reference_groups = self.group.take(item, axis=0), self.group[reference][:, :, None]
        same_category = groups[..., CATEGORY] == reference_groups[..., CATEGORY]
        same_category &= reference_groups[..., CATEGORY] >= 0
        same_brand = groups[..., BRAND] == reference_groups[..., BRAND]
        same_brand &= reference_groups[..., BRAND] >= 0
        by_group = np.array([0, category, brand * np.float32(0.5), category + brand], np.float32)
        similarity = by_group.take(same_category + np.uint8(2) * same_brand)
        price_similarity = self.price.take(item) - self.price[reference][:, :, None]
        np.abs(price_similarity, out=price_similarity)
        price_similarity = price * np.exp(price_similarity * np.float32(-2))
        price_similarity[np.isnan(price_similarity)] = 0
        similarity += price_similarity * same_category
        codes = self.name_hash[reference][:, :, None]
        if codes.any():
            similarity += text * self.name_hashes.similarity(self.name_hash.take(item), codes)
        same_category[:, -1] = same_brand[:, -1]
        return similarity, same_category

    def remove_shoppers(self, rows: Rows) -> None:
        """Nothing is stored of single shoppers."""

    def remove_items(self, rows: Rows) -> None:
        """Remove the cards of these items."""
        rows = rows[rows < self.items]
        previous = self.group[rows]
        self.group[rows], self.price[rows], self.name_hash[rows] = NO_ROW, np.nan, 0
        self.groups.count(self.group[rows], previous)
        self._dirty_rows.mark(rows)
        self.table.remove_partners(rows)
        self.table.remove_rows(self.groups.take_freed())

    def tables(self) -> Sequence[Table]:
        """The card of each item, the items of each group, the groups, the words."""
        columns: Arrays = {
            "group": self.group[: self.items],
            "price": self.price[: self.items],
            "code": self.name_hash[: self.items],
        }
        return [
            Table(columns, self._dirty_rows),
            *self.table.tables(),
            *(one.prefixed("groups/") for one in self.groups.tables()),
            *(one.prefixed("names/") for one in self.name_hashes.tables()),
        ]

    def scalars(self) -> Arrays:
        """The clock of the decay."""
        return self.table.scalars()

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self.table.restore(arrays)
        self.name_hashes.restore(strip_prefix("names/", arrays))
        self.group = arrays["group"].astype(np.int32)
        self.groups.restore(strip_prefix("groups/", arrays), self.group)
        self.price = arrays["price"].astype(np.float32)
        self.name_hash = arrays["code"].astype(np.uint64)
        self.items = len(self.group)
        self._dirty_rows = DirtyRows(self.items)

    def _ensure_rows(self, rows: int) -> None:
        self.group = grow(self.group, rows, NO_ROW)
        self.price = grow(self.price, rows, np.nan)
        self.name_hash = grow(self.name_hash, rows, 0)
        self._dirty_rows.ensure_rows(rows)
        self.items = max(self.items, rows)


def _category_key(card: ItemCard, word: str) -> str:
    """The name of an item's category group, by the best that its card says."""
    if card.category:
        return "category " + "/".join(card.category)
    if word:
        return f"word {word}"
    return _brand_key(card) or ("priced" if card.price else "")


def _brand_key(card: ItemCard) -> str:
    return f"brand {card.brand}" if card.brand else ""
