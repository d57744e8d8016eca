"""What rules and learners ask about items, as columns by row: category, brand, price, availability.

Made from the cards, which are stored; so this is not. Add a column where something asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.learners.heaviest import grown
from state.interactions import NOBODY, Vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from state.interactions import Card, Rows, Weights

    Flags = NDArray[np.bool_]

_FILLS = {"category": NOBODY, "brand": NOBODY, "price": np.nan, "sold_out": False, "told": False}
_TYPES = {"category": np.int32, "brand": np.int32, "price": np.float32}


class ItemFacts:
    """By row of an item: `category` and `brand` int32, rows of `categories` and `brands`, NOBODY where
    not known; `price` float32, NaN where not known; `sold_out` bool. About 14 bytes an item."""

    def __init__(self) -> None:
        self.categories, self.brands = Vocabulary(), Vocabulary()
        self._columns: dict[str, NDArray[Any]] = {
            name: np.empty(0, _TYPES.get(name, np.bool_)) for name in _FILLS
        }
        self.sold_out_items = 0
        self._turned: dict[int, bool] = {}

    @property
    def category(self) -> Rows:
        """The row of each item's category."""
        return self._columns["category"]

    @property
    def brand(self) -> Rows:
        """The row of each item's brand."""
        return self._columns["brand"]

    @property
    def price(self) -> Weights:
        """What each item costs."""
        return self._columns["price"]

    @property
    def sold_out(self) -> Flags:
        """Which items cannot be had."""
        return self._columns["sold_out"]

    def reach(self, rows: int) -> None:
        """Make room for so many items."""
        if rows > len(self.category):
            for name, column in self._columns.items():
                self._columns[name] = grown(column, rows, _FILLS[name])

    def learn(
        self,
        rows: Rows,
        changed: Iterable[str],
        items: Vocabulary,
        cards: Mapping[str, Card],
    ) -> None:
        """Take over the cards of rows that were never told of, and those that changed."""
        self.reach(len(items))
        told = self._columns["told"]
        new = np.unique(rows[~told[rows]])
        told[new] = True
        names = [items.ids[row] for row in new.tolist()]
        found = [*zip(new.tolist(), names, strict=True)]
        found += [(items.find(name), name) for name in changed]
        for row, name in found:
            card = cards.get(name)
            if row != NOBODY and card is not None:
                self._take(row, card)

    def take_turned(self) -> tuple[Rows, Rows]:
        """The items that are sold out, and those that are back, since last asked."""
        turned, self._turned = self._turned, {}
        rows = np.array(sorted(turned), np.int32)
        is_gone = np.array([turned[row] for row in rows.tolist()], np.bool_)
        return rows[is_gone], rows[~is_gone]

    def forget(self, rows: Rows) -> None:
        """These items were never seen."""
        self.reach(int(rows.max(initial=-1)) + 1)
        self.sold_out_items -= int(np.count_nonzero(self.sold_out[rows]))
        for name, column in self._columns.items():
            column[rows] = _FILLS[name]

    def _take(self, row: int, card: Card) -> None:
        if card.category:
            self.category[row] = self.categories.row("/".join(card.category))
        if card.brand:
            self.brand[row] = self.brands.row(card.brand)
        if card.price is not None:
            self.price[row] = card.price
        is_gone = card.available is False
        if is_gone != self.sold_out[row]:
            self.sold_out_items += 1 if is_gone else -1
            self.sold_out[row] = self._turned[row] = is_gone
