"""Lists of items: the company they keep in sessions and in orders, and which are still to be told.

An item that kept no company yet is listed with what is like it by its card.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.published_index import ITEM_LIST_TTL_S, PublishedIndex
from state.arrays import NO_ROW

if TYPE_CHECKING:
    from operators.recommend.candidates.content import Content
    from operators.recommend.candidates.covisitation import BoughtTogether, Covisitation
    from operators.recommend.rendering import ListRenderer, RankedLists
    from operators.recommend.rules.rules import RuleChain
    from state.arrays import Rows
    from state.interactions import RowIndex


class ItemLists:
    """The company that items keep, k of each, without what is sold out.

    `told` are the items that `take_changed_similar` and `bought_together` go on with; part of a
    snapshot.
    """

    def __init__(
        self,
        covisitation: Covisitation,
        content: Content,
        bought_together: BoughtTogether,
        rules: RuleChain,
        items: RowIndex,
        renderer: ListRenderer,
        k: int,
    ) -> None:
        self._covisitation = covisitation
        self._content = content
        self._bought_together = bought_together
        self._rules = rules
        self._items = items
        self._renderer = renderer
        self._k = k
        self.published_similar = PublishedIndex(k, ITEM_LIST_TTL_S)
        self.published_bought = PublishedIndex(k, ITEM_LIST_TTL_S)
        self.cursors = (0, 0)

    def take_changed_similar(
        self, now_ms: int, limit: int | None = None
    ) -> tuple[list[str], RankedLists]:
        """Items whose company in sessions changed since last told, and that company.

        All of them, or at most so many, beginning where the time before ended.
        """
        items = self._covisitation.take_changed(limit, self.cursors[0])
        self.cursors = (_next_cursor(items, self.cursors[0]), self.cursors[1])
        return self.similar_to(items, now_ms)

    def similar_to(self, items: Rows, now_ms: int) -> tuple[list[str], RankedLists]:
        """The company of items in sessions, else what is like them, to be written."""
        lists = self._covisitation.neighbours(items, self._k, self._rules.sold_out_flags)
        without_neighbours = np.flatnonzero(lists.item[:, 0] == NO_ROW)
        if len(without_neighbours):
            alike = self._content.neighbours(
                items[without_neighbours], self._k, self._rules.sold_out_flags
            )
            lists.item[without_neighbours], lists.score[without_neighbours] = (
                alike.item,
                alike.score,
            )
            lists.reason_item[without_neighbours] = alike.reason_item
        self.published_similar.store(items, lists.item, now_ms)
        rendered = self._renderer.render(lists, self._covisitation.name)
        rendered.sources = dict.fromkeys(without_neighbours.tolist(), self._content.name)
        return self._ids(items), rendered

    def take_changed_bought(
        self, now_ms: int, limit: int | None = None
    ) -> tuple[list[str], RankedLists]:
        """Items whose company in orders changed since last told, and that company, as in
        `take_changed_similar`."""
        items = self._bought_together.take_changed(limit, self.cursors[1])
        self.cursors = (self.cursors[0], _next_cursor(items, self.cursors[1]))
        return self.bought_with(items, now_ms)

    def bought_with(self, items: Rows, now_ms: int) -> tuple[list[str], RankedLists]:
        """The company of items in orders, to be written."""
        lists = self._bought_together.neighbours(items, self._k, self._rules.sold_out_flags)
        self.published_bought.store(items, lists.item, now_ms)
        return self._ids(items), self._renderer.render(lists, "bought")

    def update_items(self, items: Rows, previous_groups: Rows) -> None:
        """Hear of items whose card is new or changed, and of the groups of content they were in.

        Changed are their own lists and those that have room for them, where no company makes them.
        """
        groups = np.union1d(self._content.groups_of(items), previous_groups)
        self._mark_without_neighbours(items)
        self._mark_short_lists(groups)

    def _mark_short_lists(self, groups: Rows) -> None:
        """Count the lists of what is in these groups as changed where they are not full."""
        members = self._content.members_of(groups)
        self._mark_without_neighbours(members[self.published_similar.are_short(members)])

    def _mark_without_neighbours(self, items: Rows) -> None:
        """Count the lists of those of some items that nobody looked at with another as changed."""
        table = self._covisitation.table
        table.mark_changed(items[table.are_empty(items)])

    def mark_lists_containing(self, items: Rows) -> None:
        """Count every list that these belong to as changed."""
        self._mark_short_lists(self._content.groups_of(items))
        self._covisitation.table.mark_rows_containing(items)
        self._bought_together.table.mark_rows_containing(items)

    def mark_all(self) -> None:
        """Count every list as changed."""
        self._covisitation.table.mark_all()
        self._mark_without_neighbours(self._items.live_rows())
        self._bought_together.table.mark_all()

    def remove_items(self, rows: Rows) -> None:
        """Nothing is written of these items."""
        self.published_similar.remove_rows(rows)
        self.published_bought.remove_rows(rows)

    def _ids(self, items: Rows) -> list[str]:
        return [self._items.ids[row] for row in items.tolist()]


def _next_cursor(items: Rows, cursor: int) -> int:
    """The row behind the last one."""
    return int(items[-1]) + 1 if len(items) else cursor
