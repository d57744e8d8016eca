"""Items that are alike by what they are: category, brand, price and name. What carries new items.

An item counts from the moment its card is known, before anyone looked at it. Change the constants
only with `make quality` beside it: they were chosen there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.candidates.groups import Groups
from operators.recommend.candidates.name_hashes import NameCodes
from operators.tables.array_ops import ROWS_AT_ONCE, best_items, first_seen
from operators.tables.table import Kept, Table, without_prefix
from operators.tables.top_partners import HeaviestPartners, among, grown
from state.dirty_rows import Marks
from state.interactions import NOBODY, empty_lists
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.catalogue.item_features import Flags
    from operators.tables.table import Arrays
    from state.interactions import Card, Interactions, Lists, Requests, Rows, Weights

KIND, BRAND = 0, 1
"""The groups an item is in: its category (where it has none, a word of its name), its brand."""
DEBUT = 1.0
"""What a new card counts in its groups: as much as the view it mostly comes with."""


class Content(Kept):
    """The most popular items of the groups of what the shopper looked at, the closest first.

    Of the last `reach` items of the session, each `fading` times the one after it, the `width`
    heaviest items of the same kind are looked into, and of the newest those of its brand. An item
    counts its weight in the group to the power of `popular`, times e to the sum of how close it is:
    `kind` for the same kind, `brand` for the same brand (half of it in another kind), `price` for the
    same price (a quarter of it at twice the price), `text` for the same name.

    group int32[items, 2]   rows of `Groups`, NOBODY where a card says nothing
    price float32[items]    logarithm, NaN where unknown
    code uint64[items]      of the name, `NameCodes`
    """

    name = "content"
    asked_last = False

    def __init__(
        self,
        *,
        width: int = 64,
        half_life_ms: int = 7 * DAY_MS,
        reach: int = 2,
        fading: float = 0.2,
        popular: float = 0.8,
        kind: float = 3.0,
        brand: float = 2.0,
        price: float = 3.0,
        text: float = 3.0,
    ) -> None:
        self.table = HeaviestPartners(width, half_life_ms)
        self.groups = Groups()
        self.names = NameCodes()
        self.reach = reach
        self.fading = fading
        self.popular = popular
        self.closeness = (kind, brand, price, text)
        self.items = 0
        self.group: Rows = np.empty((0, 2), np.int32)
        self.price: Weights = np.empty(0, np.float32)
        self.code: NDArray[np.uint64] = np.empty(0, np.uint64)
        self._marks = Marks()

    def describe(self, rows: Rows, cards: Sequence[Card]) -> None:
        """Learn what items are, each once; one described before may have changed."""
        if not len(rows):
            return
        self._grow(int(rows.max()) + 1)
        self.price[rows] = [np.log(card.price) if card.price else np.nan for card in cards]
        words, self.code[rows] = self.names.take([card.name or "" for card in cards])
        before = self.group[rows]
        after = np.array(
            [
                (self.groups.row(_kind(card, word)), self.groups.row(_brand(card)))
                for card, word in zip(cards, words, strict=True)
            ],
            np.int32,
        )
        self.group[rows] = after
        self.groups.count(after, before)
        self._marks.mark(rows)
        at_ms = np.array([card.at_ms for card in cards], np.int64)
        event, of = np.nonzero((after != before) & (after >= 0))
        self._add(after[event, of], rows[event], np.full(len(event), DEBUT), at_ms[event])
        self.table.forget_rows(self.groups.take_freed())

    def learn_many(self, batch: Interactions) -> None:
        """Learn a batch, in its order; items without a card are passed over."""
        known = batch.item < self.items
        item = batch.item[known]
        group = self.group[item]
        event, of = np.nonzero(group >= 0)
        weight, at_ms = batch.weight[known][event], batch.at_ms[known][event]
        self._add(group[event, of], item[event], weight, at_ms)

    def _add(self, group: Rows, item: Rows, weight: Weights, at_ms: NDArray[np.int64]) -> None:
        self.table.add(group, item, weight.astype(np.float32), at_ms)

    def candidates(self, requests: Requests, k: int) -> Lists:
        """At most k items for each request."""
        lists = empty_lists(len(requests), k)
        if self.items:
            for start in range(0, len(requests), ROWS_AT_ONCE):
                part = slice(start, start + ROWS_AT_ONCE)
                listed = self._listed(first_seen(requests.context[part, : self.reach]), k)
                lists.item[part], lists.score[part] = listed.item, listed.score
                lists.because[part] = listed.because
        return lists

    def neighbours(self, items: Rows, k: int, sold_out: Flags | None = None) -> Lists:
        """The items most alike to each of these, itself left out and what cannot be had; scores are
        shares."""
        wide = (self.reach + 1) * self.table.width
        lists = empty_lists(len(items), k)
        for start in range(0, len(items) if self.items else 0, ROWS_AT_ONCE):
            part = slice(start, start + ROWS_AT_ONCE)
            listed = self._listed(items[part, None], wide)
            score = listed.score
            score[listed.item == items[part, None]] = 0
            if sold_out is not None:
                score[sold_out[listed.item]] = 0
            score /= np.maximum(score.sum(axis=1, keepdims=True), np.finfo(np.float32).tiny)
            best = best_items(listed.item, score, listed.because, k, repeats=1)
            lists.item[part], lists.score[part] = best.item, best.score
            lists.because[part] = best.because
        return lists

    def groups_of(self, rows: Rows) -> Rows:
        """The groups that some items are in, each once."""
        groups = np.unique(self.group[rows[rows < self.items]])
        return groups[groups >= 0]

    def members_of(self, groups: Rows) -> Rows:
        """The items that are in one of these groups: a sweep over all items."""
        there = among(self.group[: self.items], groups).any(axis=1)
        return np.flatnonzero(there).astype(np.int32)

    def _listed(self, context: Rows, k: int) -> Lists:
        reach = context.shape[1]
        known = (context >= 0) & (context < self.items)
        context = np.where(known, context, NOBODY)
        like = np.concatenate([context, context[:, :1]], axis=1)
        safe = np.where(like >= 0, like, 0)
        of = np.append(np.full(reach, KIND), BRAND)
        group = np.where(like >= 0, self.group[safe, of], NOBODY)
        item, weight = self.table.take(group)
        closeness, stays = self._closeness(np.maximum(item, 0), safe)
        # A place may still hold an item that has become another, or is in another group now.
        stays &= item >= 0
        by_step = np.float32(self.fading) ** np.append(np.arange(reach), 0).astype(np.float32)
        tiny = np.finfo(np.float32).tiny
        most = np.maximum(weight.max(axis=(1, 2), keepdims=True), tiny)
        share = np.log(np.maximum(weight / most, tiny))
        score = np.exp(closeness + share * np.float32(self.popular))
        score *= by_step[:, None]
        wide = (len(like), -1)
        return best_items(
            np.where(stays, item, NOBODY).reshape(wide),
            score.reshape(wide),
            np.repeat(like, self.table.width, axis=1),
            k,
            repeats=reach + 1,
        )

    def _closeness(self, item: Rows, like: Rows) -> tuple[Weights, NDArray[np.bool_]]:
        """How close items [n, r, w] are to one each [n, r], in the exponent.

        And which of them are of the same kind, or in the last r of the same brand.
        """
        kind, brand, price, text = map(np.float32, self.closeness)
        groups, to = self.group.take(item, axis=0), self.group[like][:, :, None]
        own = groups[..., KIND] == to[..., KIND]
        own &= to[..., KIND] >= 0
        branded = groups[..., BRAND] == to[..., BRAND]
        branded &= to[..., BRAND] >= 0
        by_group = np.array([0, kind, brand * np.float32(0.5), kind + brand], np.float32)
        close = by_group.take(own + np.uint8(2) * branded)
        near = self.price.take(item) - self.price[like][:, :, None]
        np.abs(near, out=near)
        near = price * np.exp(near * np.float32(-2))
        near[np.isnan(near)] = 0
        close += near * own
        codes = self.code[like][:, :, None]
        if codes.any():
            close += text * self.names.alike(self.code.take(item), codes)
        own[:, -1] = branded[:, -1]
        return close, own

    def forget_shoppers(self, rows: Rows) -> None:
        """Nothing here is about a shopper."""

    def forget_items(self, rows: Rows) -> None:
        """These items were never described."""
        rows = rows[rows < self.items]
        before = self.group[rows]
        self.group[rows], self.price[rows], self.code[rows] = NOBODY, np.nan, 0
        self.groups.count(self.group[rows], before)
        self._marks.mark(rows)
        self.table.forget_partners(rows)
        self.table.forget_rows(self.groups.take_freed())

    def tables(self) -> Sequence[Table]:
        """What each item is, the items of each group, the groups, the words."""
        columns: Arrays = {
            "group": self.group[: self.items],
            "price": self.price[: self.items],
            "code": self.code[: self.items],
        }
        return [
            Table(columns, self._marks),
            *self.table.tables(),
            *(one.named("groups/") for one in self.groups.tables()),
            *(one.named("names/") for one in self.names.tables()),
        ]

    def small(self) -> Arrays:
        """The clock."""
        return self.table.small()

    def restore(self, arrays: Arrays) -> None:
        """Take over what `arrays` gave."""
        self.table.restore(arrays)
        self.names.restore(without_prefix("names/", arrays))
        self.group = arrays["group"].astype(np.int32)
        self.groups.restore(without_prefix("groups/", arrays), self.group)
        self.price = arrays["price"].astype(np.float32)
        self.code = arrays["code"].astype(np.uint64)
        self.items = len(self.group)
        self._marks = Marks(self.items)

    def _grow(self, rows: int) -> None:
        self.group = grown(self.group, rows, NOBODY)
        self.price = grown(self.price, rows, np.nan)
        self.code = grown(self.code, rows, 0)
        self._marks.reach(rows)
        self.items = max(self.items, rows)


def _kind(card: Card, word: str) -> str:
    """What an item is, by the best that its card tells."""
    if card.category:
        return "category " + "/".join(card.category)
    if word:
        return f"word {word}"
    return _brand(card) or ("priced" if card.price else "")


def _brand(card: Card) -> str:
    return f"brand {card.brand}" if card.brand else ""
