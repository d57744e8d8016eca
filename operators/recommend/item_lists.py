"""Lists of items: the company they keep in sessions and in orders, and which are still to be told.

An item that kept no company yet is listed with what is like it by its card.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.published_index import ITEM_LIST_TTL_S, Written
from state.interactions import NOBODY

if TYPE_CHECKING:
    from operators.recommend.candidates.content import Content
    from operators.recommend.candidates.covisitation import BoughtTogether, Covisitation
    from operators.recommend.rendering import Captions, RankedLists
    from operators.recommend.rules.rules import Rules
    from state.interactions import Rows, Vocabulary


class ItemLists:
    """The company that items keep, k of each, without what is sold out.

    `told` are the items that `similar` and `bought_together` go on with; part of a snapshot.
    """

    def __init__(
        self,
        covisitation: Covisitation,
        content: Content,
        bought: BoughtTogether,
        rules: Rules,
        items: Vocabulary,
        captions: Captions,
        k: int,
    ) -> None:
        self._covisitation = covisitation
        self._content = content
        self._bought = bought
        self._rules = rules
        self._items = items
        self._captions = captions
        self._k = k
        self.written_similar = Written(k, ITEM_LIST_TTL_S)
        self.written_bought = Written(k, ITEM_LIST_TTL_S)
        self.told = (0, 0)

    def similar(self, now_ms: int, most: int | None = None) -> tuple[list[str], RankedLists]:
        """Items whose company in sessions changed since last told, and that company.

        All of them, or at most so many, beginning where the time before ended.
        """
        items = self._covisitation.take_changed(most, self.told[0])
        self.told = (_behind(items, self.told[0]), self.told[1])
        return self.similar_of(items, now_ms)

    def similar_of(self, items: Rows, now_ms: int) -> tuple[list[str], RankedLists]:
        """The company of items in sessions, else what is like them, to be written."""
        lists = self._covisitation.neighbours(items, self._k, self._rules.sold_out_flags)
        alone = np.flatnonzero(lists.item[:, 0] == NOBODY)
        if len(alone):
            like = self._content.neighbours(items[alone], self._k, self._rules.sold_out_flags)
            lists.item[alone], lists.score[alone] = like.item, like.score
            lists.because[alone] = like.because
        self.written_similar.remember(items, lists.item, now_ms)
        told = self._captions.of(lists, self._covisitation.name)
        told.sources = dict.fromkeys(alone.tolist(), self._content.name)
        return self._ids(items), told

    def bought_together(
        self, now_ms: int, most: int | None = None
    ) -> tuple[list[str], RankedLists]:
        """Items whose company in orders changed since last told, and that company, as in `similar`."""
        items = self._bought.take_changed(most, self.told[1])
        self.told = (self.told[0], _behind(items, self.told[1]))
        return self.bought_with(items, now_ms)

    def bought_with(self, items: Rows, now_ms: int) -> tuple[list[str], RankedLists]:
        """The company of items in orders, to be written."""
        lists = self._bought.neighbours(items, self._k, self._rules.sold_out_flags)
        self.written_bought.remember(items, lists.item, now_ms)
        return self._ids(items), self._captions.of(lists, "bought")

    def describe(self, items: Rows, former: Rows) -> None:
        """Hear of items whose card is new or changed, and of the groups of content they were in.

        Changed are their own lists and those that have room for them, where no company makes them.
        """
        groups = np.union1d(self._content.groups_of(items), former)
        self._change_alone(items)
        self._change_room_for(groups)

    def _change_room_for(self, groups: Rows) -> None:
        """Count the lists of what is in these groups as changed where they are not full."""
        members = self._content.members_of(groups)
        self._change_alone(members[self.written_similar.have_room(members)])

    def _change_alone(self, items: Rows) -> None:
        """Count the lists of those of some items that nobody looked at with another as changed."""
        table = self._covisitation.table
        table.change(items[table.are_alone(items)])

    def change_holding(self, items: Rows) -> None:
        """Count every list that these belong to as changed."""
        self._change_room_for(self._content.groups_of(items))
        self._covisitation.table.change_holding(items)
        self._bought.table.change_holding(items)

    def change_all(self) -> None:
        """Count every list as changed."""
        self._covisitation.table.change_all()
        self._change_alone(self._items.live())
        self._bought.table.change_all()

    def forget(self, rows: Rows) -> None:
        """Nothing is written of these items."""
        self.written_similar.forget(rows)
        self.written_bought.forget(rows)

    def _ids(self, items: Rows) -> list[str]:
        return [self._items.ids[row] for row in items.tolist()]


def _behind(items: Rows, before: int) -> int:
    """The row behind the last one."""
    return int(items[-1]) + 1 if len(items) else before
