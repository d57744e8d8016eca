"""The beginning of a list does not hold too much of one category.

The cap always holds. Where too little of other categories is named, what is popular there is put in;
where there is none of that either, the list is shorter. An item without a category is in nobody's way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.tables.array_ops import dropped, reordered
from state.interactions import NOBODY

if TYPE_CHECKING:
    from operators.catalogue.item_features import Flags, ItemFacts
    from state.interactions import Lists, Rows


def capped(lists: Lists, facts: ItemFacts, most: int, among: int) -> Lists:
    """At most so many items of one category among the first `among`; the others come after those, or
    not at all where those are fewer."""
    first = leading(lists.item, facts, most, among)
    count = first.sum(axis=1, keepdims=True)
    ordered = reordered(lists, np.argsort(~first, axis=1, kind="stable"))
    behind = np.arange(first.shape[1]) >= count
    return dropped(ordered, (count < among) & behind)


def leading(item: Rows, facts: ItemFacts, most: int, among: int) -> Flags:
    """Which places of lists [n, w] come first: `among` of them with at most `most` of a category."""
    first = (rank_of_kind(item, facts) < most) & (item >= 0)
    first &= first.cumsum(axis=1) <= among
    return first


def rank_of_kind(item: Rows, facts: ItemFacts) -> Rows:
    """How many items of the same category come before each place of lists [n, w]; 0 without one."""
    category = np.where(item >= 0, facts.category[item], NOBODY)
    return np.where(category >= 0, _earlier_of_same(category), 0)


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
