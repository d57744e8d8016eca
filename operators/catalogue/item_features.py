"""Data of items as columns by row, for list rules and learners: category, brand, price, availability.

Made from the cards, which are stored, so these columns are not. Add a column where something needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from operators.tables.array_ops import grow
from operators.tables.removal import KeepsNoRows
from operators.tables.replication import ChangedRows
from state.arrays import NO_ROW
from state.interactions import RowIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from state.arrays import Rows, Weights
    from state.interactions import ItemCard

    Flags = NDArray[np.bool_]

_FILLS = {
    "category": NO_ROW,
    "brand": NO_ROW,
    "price": np.nan,
    "sold_out": False,
    "has_card": False,
}
_TYPES = {"category": np.int32, "brand": np.int32, "price": np.float32}


class ItemFeatures(KeepsNoRows):
    """Columns by item row: `category` and `brand` int32, rows of `categories` and `brands`, NO_ROW where
    unknown; `price` float32, NaN where unknown; `sold_out` bool. About 14 bytes an item.

    Whenever a column is read, it has an element for every row of the item index.
    """

    def __init__(self, items: RowIndex) -> None:
        self._items = items
        self.categories, self.brands = RowIndex(), RowIndex()
        self._columns: dict[str, NDArray[Any]] = {
            name: np.empty(0, _TYPES.get(name, np.bool_)) for name in _FILLS
        }
        self.sold_out_items = 0
        self.changed_rows = ChangedRows()
        self._stock_changes: dict[int, bool] = {}

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
        """The price of each item."""
        return self._column("price")

    @property
    def sold_out(self) -> Flags:
        """Which items are sold out."""
        return self._column("sold_out")

    def _column(self, name: str) -> NDArray[Any]:
        rows, column = len(self._items), self._columns[name]
        if rows > len(column):
            column = self._columns[name] = grow(column, rows, _FILLS[name])
        return column

    def update(self, rows: Rows, changed: Iterable[str], cards: Mapping[str, ItemCard]) -> None:
        """Read the cards of those `rows` that were not read before, and of the `changed` items."""
        has_card = self._column("has_card")
        new_rows = np.unique(rows[~has_card[rows]])
        has_card[new_rows] = True
        updates = {row: self._items.ids[row] for row in new_rows.tolist()}
        updates |= {self._items.get(name): name for name in changed}
        updates.pop(NO_ROW, None)
        found = {row: card for row, name in updates.items() if (card := cards.get(name))}
        if found:
            self._apply_cards(found)
            self.changed_rows.mark(np.array([*found], np.int32))

    def take_stock_changes(self) -> tuple[Rows, Rows]:
        """The items that sold out, and those that are back in stock, since the last call."""
        changes, self._stock_changes = self._stock_changes, {}
        rows = np.array(sorted(changes), np.int32)
        is_sold_out = np.array([changes[row] for row in rows.tolist()], np.bool_)
        return rows[is_sold_out], rows[~is_sold_out]

    def remove_items(self, rows: Rows) -> None:
        """Set these rows back to "unknown"."""
        self.sold_out_items -= int(np.count_nonzero(self.sold_out[rows]))
        for name, fill in _FILLS.items():
            self._column(name)[rows] = fill
        self.changed_rows.mark(rows)

    def replicated_columns(self) -> tuple[NDArray[Any], ...]:
        """What the list rules read."""
        length = len(self._items)
        return tuple(
            self._column(name)[:length] for name in ("category", "brand", "price", "sold_out")
        )

    def ensure_rows(self, rows: int) -> None:
        """The columns follow the row index, which is written first."""

    def replicated_scalars(self) -> tuple[NDArray[np.int64]]:
        """The number of items that are sold out."""
        return (np.array([self.sold_out_items]),)

    def write_scalars(self, scalars: tuple[NDArray[Any], ...]) -> None:
        """Replace the number of items that are sold out."""
        self.sold_out_items = int(scalars[0][0])

    def _apply_cards(self, card_by_row: Mapping[int, ItemCard]) -> None:
        category, brand, price, sold_out = self.category, self.brand, self.price, self.sold_out
        for row, card in card_by_row.items():
            if card.category:
                category[row] = self.categories.get_or_add("/".join(card.category))
            if card.brand:
                brand[row] = self.brands.get_or_add(card.brand)
            if card.price is not None:
                price[row] = card.price
            is_sold_out = card.available is False
            if is_sold_out != sold_out[row]:
                self.sold_out_items += 1 if is_sold_out else -1
                sold_out[row] = self._stock_changes[row] = is_sold_out
