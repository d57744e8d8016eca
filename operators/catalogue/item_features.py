"""What rules and learners ask about items, as columns by row: category, brand, price, availability.

Made from the cards, which are stored; so this is not. Add a column where something asks for it.
Every column has a place for each row of the vocabulary whenever it is read, whoever gave the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.tables.top_partners import grown
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

    def __init__(self, items: Vocabulary) -> None:
        self._items = items
        self.categories, self.brands = Vocabulary(), Vocabulary()
        self._columns: dict[str, NDArray[Any]] = {
            name: np.empty(0, _TYPES.get(name, np.bool_)) for name in _FILLS
        }
        self.sold_out_items = 0
        self._turned: dict[int, bool] = {}

    @property
    def category(self) -> Rows:
        """The row of each item's category."""
        return self._column("category")

    @property
    def brand(self) -> Rows:
        """The row of each item's brand."""
        return self._column("brand")

    @property
    def price(self) -> Weights:
        """What each item costs."""
        return self._column("price")

    @property
    def sold_out(self) -> Flags:
        """Which items cannot be had."""
        return self._column("sold_out")

    def _column(self, name: str) -> NDArray[Any]:
        rows, column = len(self._items), self._columns[name]
        if rows > len(column):
            column = self._columns[name] = grown(column, rows, _FILLS[name])
        return column

    def learn(self, rows: Rows, changed: Iterable[str], cards: Mapping[str, Card]) -> None:
        """Take over the cards of rows that were never told of, and those that changed."""
        told = self._column("told")
        new = np.unique(rows[~told[rows]])
        told[new] = True
        names = [self._items.ids[row] for row in new.tolist()]
        found = [*zip(new.tolist(), names, strict=True)]
        found += [(self._items.find(name), name) for name in changed]
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
        self.sold_out_items -= int(np.count_nonzero(self.sold_out[rows]))
        for name, fill in _FILLS.items():
            self._column(name)[rows] = fill

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
