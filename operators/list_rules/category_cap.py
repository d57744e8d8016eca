"""The beginning of a list does not hold too much of one category."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.ranking import reordered

if TYPE_CHECKING:
    from operators.item_facts import ItemFacts
    from state.interactions import Lists, Rows


def capped(lists: Lists, facts: ItemFacts, most: int, among: int) -> Lists:
    """At most so many items of one category among the first `among`; the others come after those.

    An item without a category is in nobody's way. Where too little else is listed, the cap gives way.
    """
    item = lists.item
    category = np.where(item >= 0, facts.category[item], -1)
    first = (category < 0) | (_earlier_of_same(category) < most)
    first &= item >= 0
    first &= first.cumsum(axis=1) <= among
    return reordered(lists, np.argsort(~first, axis=1, kind="stable"))


def _earlier_of_same(values: Rows) -> Rows:
    """How many places before hold the same value, in each row.

    >>> _earlier_of_same(np.array([[3, 4, 3, 3]], np.int32)).tolist()
    [[0, 0, 1, 2]]
    """
    order = values.argsort(axis=1, kind="stable")
    ordered = np.take_along_axis(values, order, axis=1)
    place = np.arange(values.shape[1])
    begins = np.ones(values.shape, np.bool_)
    begins[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    rank = place - np.maximum.accumulate(np.where(begins, place, 0), axis=1)
    earlier = np.empty(values.shape, np.int32)
    np.put_along_axis(earlier, order, rank.astype(np.int32), axis=1)
    return earlier
