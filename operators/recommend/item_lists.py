"""Lists of items: what is viewed with an item, what is bought with it, and which lists changed.

An item that was viewed with no other item yet gets the items that its card is most like.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.published_index import ITEM_LIST_TTL_S, PublishedIndex
from operators.tables.removal import KeepsNoRows
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from operators.recommend.candidates.bought_together import BoughtTogether
    from operators.recommend.candidates.content import Content
    from operators.recommend.candidates.covisitation import Covisitation
    from operators.recommend.rendering import ListRenderer, RankedLists
    from operators.recommend.rules.out_of_stock import OutOfStock
    from state.arrays import Rows
    from state.interactions import RowIndex


class ItemLists(KeepsNoRows):
    """Two lists of k items for each item, `similar` and `bought`, without sold-out items.

    `cursors` are the items that the next `take_changed_similar` and `take_changed_bought` begin with.
    They are stored, under the name `told`.
    """

    def __init__(
        self,
        covisitation: Covisitation,
        content: Content,
        bought_together: BoughtTogether,
        out_of_stock: OutOfStock,
        items: RowIndex,
        renderer: ListRenderer,
        k: int,
    ) -> None:
        self._covisitation = covisitation
        self._content = content
        self._bought_together = bought_together
        self._out_of_stock = out_of_stock
        self._items = items
        self.renderer = renderer
        self._k = k
        self.published_similar = PublishedIndex(k, ITEM_LIST_TTL_S)
        self.published_bought = PublishedIndex(k, ITEM_LIST_TTL_S)
        self.cursors = (0, 0)

    def take_changed_similar(
        self, now_ms: int, limit: int | None = None
    ) -> tuple[list[str], RankedLists]:
        """Items whose `similar` list changed since the last call, and these lists.

        All of them, or at most `limit`, beginning where the last call ended.
        """
        items = self._covisitation.take_changed(limit, self.cursors[0])
        self.cursors = (_next_cursor(items, self.cursors[0]), self.cursors[1])
        return self.similar_to(items, now_ms)

    def similar_to(self, items: Rows, now_ms: int) -> tuple[list[str], RankedLists]:
        """The `similar` lists of items, to be published: viewed with them, else of a similar card."""
        lists = self._covisitation.neighbours(items, self._k, self._out_of_stock.flags)
        without_neighbours = np.flatnonzero(lists.item[:, 0] == NO_ROW)
        if len(without_neighbours):
            alike = self._content.neighbours(
                items[without_neighbours], self._k, self._out_of_stock.flags
            )
            lists.item[without_neighbours] = alike.item
            lists.score[without_neighbours] = alike.score
            lists.reason_item[without_neighbours] = alike.reason_item
        self.published_similar.store(items, lists.item, now_ms)
        rendered = self.renderer.render(lists, self._covisitation.name)
        rendered.sources = dict.fromkeys(without_neighbours.tolist(), self._content.name)
        return self._ids(items), rendered

    def take_changed_bought(
        self, now_ms: int, limit: int | None = None
    ) -> tuple[list[str], RankedLists]:
        """Items whose `bought` list changed since the last call, and these lists."""
        items = self._bought_together.take_changed(limit, self.cursors[1])
        self.cursors = (self.cursors[0], _next_cursor(items, self.cursors[1]))
        return self.bought_with(items, now_ms)

    def bought_with(self, items: Rows, now_ms: int) -> tuple[list[str], RankedLists]:
        """The `bought` lists of items, to be published."""
        lists = self._bought_together.neighbours(items, self._k, self._out_of_stock.flags)
        self.published_bought.store(items, lists.item, now_ms)
        return self._ids(items), self.renderer.render(lists, "bought")

    def update_items(self, items: Rows, previous_groups: Rows) -> None:
        """Mark the lists that change because cards are new or changed.

        `previous_groups` are the content groups that the items were in. Of lists that come from cards,
        those of the items change, and those of their old and new groups that are not full.
        """
        groups = np.union1d(self._content.groups_of(items), previous_groups)
        self._mark_without_neighbours(items)
        self._mark_short_lists(groups)

    def _mark_short_lists(self, groups: Rows) -> None:
        """Mark the lists that come from cards and are not full, of the items in these groups."""
        members = self._content.members_of(groups)
        self._mark_without_neighbours(members[self.published_similar.are_short(members)])

    def _mark_without_neighbours(self, items: Rows) -> None:
        """Mark the lists of those items that nobody viewed together with another item."""
        table = self._covisitation.table
        table.mark_changed(items[table.are_empty(items)])

    def mark_lists_containing(self, items: Rows) -> None:
        """Mark every list that holds one of these items, or could hold it."""
        self._mark_short_lists(self._content.groups_of(items))
        self._covisitation.table.mark_rows_containing(items)
        self._bought_together.table.mark_rows_containing(items)

    def mark_all(self) -> None:
        """Mark every list as changed."""
        self._covisitation.table.mark_all()
        self._mark_without_neighbours(self._items.live_rows())
        self._bought_together.table.mark_all()

    def remove_items(self, rows: Rows) -> None:
        """Remove the lists of these items from the indexes of published lists."""
        self.published_similar.remove_rows(rows)
        self.published_bought.remove_rows(rows)

    def _ids(self, items: Rows) -> list[str]:
        return [self._items.ids[row] for row in items.tolist()]


def _next_cursor(items: Rows, cursor: int) -> int:
    """The row after the last one."""
    return int(items[-1]) + 1 if len(items) else cursor
