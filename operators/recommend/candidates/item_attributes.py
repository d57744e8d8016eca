"""Attributes of items by their cards, for content: groups, price, name; and the similarity of two items.

The names of the arrays are stored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.kernels.item_scans import members_of
from operators.recommend.candidates.groups import GroupIndex
from operators.recommend.candidates.name_hashes import NameHashes
from operators.tables.array_ops import grow
from operators.tables.replication import ChangedRows, ReplicatedColumns
from operators.tables.table import Table, TableState, strip_prefix
from state.arrays import NO_ROW
from state.dirty_rows import DirtyRows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from operators.tables.table import Arrays
    from state.arrays import Rows, Weights
    from state.interactions import ItemCard


class ItemAttributes(TableState, ReplicatedColumns):
    """Attributes of items, and the weights of their similarities.

    group int32[items, 2]     rows of `GroupIndex`, NO_ROW if the card has none: of the category (without
                              one, of a word of the name), and of the brand
    price float32[items]      logarithm, NaN if unknown
    name_hash uint64[items]   of `NameHashes`, stored as `code`
    """

    def __init__(self, category: float, brand: float, price: float, text: float) -> None:
        self.similarity_weights = np.array([category, brand, price, text], np.float32)
        self.groups = GroupIndex()
        self._name_hashes = NameHashes()
        self.items = 0
        self.group: Rows = np.empty((0, 2), np.int32)
        self._price: Weights = np.empty(0, np.float32)
        self._name_hash: NDArray[np.uint64] = np.empty(0, np.uint64)
        self.changed_rows = ChangedRows()
        self._dirty_rows = DirtyRows()

    def update(self, rows: Rows, cards: Sequence[ItemCard]) -> tuple[NDArray[np.intp], Rows]:
        """Store the cards of items, each given once. Returns each change of a group: the index of the
        card, and the group that the item is in now."""
        self.ensure_rows(int(rows.max()) + 1)
        self._price[rows] = [np.log(card.price) if card.price else np.nan for card in cards]
        words, self._name_hash[rows] = self._name_hashes.update([card.name or "" for card in cards])
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
        self.changed_rows.mark(rows)
        changed, column = np.nonzero((current != previous) & (current >= 0))
        return changed, current[changed, column]

    def groups_of(self, rows: Rows) -> Rows:
        """The groups of these items, each once."""
        groups = np.unique(self.group[rows[rows < self.items]])
        return groups[groups >= 0]

    def members_of(self, groups: Rows) -> Rows:
        """The items in any of these groups: a sweep over all items."""
        is_wanted = np.zeros(len(self.groups.key), np.bool_)
        is_wanted[groups] = True
        out = np.empty(self.items, np.int32)
        return out[: members_of(self.group[: self.items], is_wanted, out)]

    def remove_items(self, rows: Rows) -> None:
        """Remove the cards of these items."""
        rows = rows[rows < self.items]
        previous = self.group[rows]
        self.group[rows], self._price[rows], self._name_hash[rows] = NO_ROW, np.nan, 0
        self.groups.count(self.group[rows], previous)
        self._dirty_rows.mark(rows)
        self.changed_rows.mark(rows)

    def tables(self) -> Sequence[Table]:
        """The attributes of each item, the groups, the words."""
        columns: Arrays = {
            "group": self.group[: self.items],
            "price": self._price[: self.items],
            "code": self._name_hash[: self.items],
        }
        return [
            Table(columns, self._dirty_rows),
            *(table.prefixed("groups/") for table in self.groups.tables()),
            *(table.prefixed("names/") for table in self._name_hashes.tables()),
        ]

    def restore(self, arrays: Arrays) -> None:
        """Go on from the arrays of a snapshot."""
        self._name_hashes.restore(strip_prefix("names/", arrays))
        self.group = arrays["group"].astype(np.int32)
        self.groups.restore(strip_prefix("groups/", arrays), self.group)
        self._price = arrays["price"].astype(np.float32)
        self._name_hash = arrays["code"].astype(np.uint64)
        self.items = len(self.group)
        self._dirty_rows = DirtyRows(self.items)

    def replicated_columns(self) -> tuple[Rows, Weights, NDArray[np.uint64]]:
        """Groups, price and name."""
        columns = (self.group, self._price, self._name_hash)
        return columns[0][: self.items], columns[1][: self.items], columns[2][: self.items]

    def ensure_rows(self, rows: int) -> None:
        """Extend the table to at least so many items, without cards."""
        self.group = grow(self.group, rows, NO_ROW)
        self._price = grow(self._price, rows, np.nan)
        self._name_hash = grow(self._name_hash, rows, 0)
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
