"""The plain forms of the kernels of the list rules: array operations on whole lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from state.arrays import NO_ROW
from state.interactions import ScoredLists

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from state.arrays import Rows, Weights

    Flags = NDArray[np.bool_]


def contains(excluded: Rows, item: Rows) -> Flags:
    """Which of the items [n, w] are in the same line of excluded [n, h]; NO_ROW is in none."""
    is_contained = np.zeros(item.shape, np.bool_)
    for column in excluded.T:
        is_contained |= item == column[:, None]
    return is_contained & (item >= 0)


def drop(lists: ScoredLists, removed: Flags) -> ScoredLists:
    """The lists without the positions marked in removed bool[n, w], padded at the end."""
    removed = removed | (lists.item < 0)
    order = removed.argsort(axis=1, kind="stable")
    row = np.arange(len(order))[:, None]
    return ScoredLists(
        np.where(removed, NO_ROW, lists.item)[row, order],
        np.where(removed, 0, lists.score)[row, order].astype(np.float32),
        np.where(removed, NO_ROW, lists.reason_item)[row, order],
    )


def mark_pairs(item: Rows, starts: NDArray[np.int64], pair_item: Rows, counts: Flags) -> Flags:
    """Where lists hold an item of a pair of their shopper that counts."""
    marked = np.zeros(item.shape, np.bool_)
    for row in range(len(item)):
        pairs = slice(starts[row], starts[row + 1])
        marked[row] = np.isin(item[row], pair_item[pairs][counts[pairs]])
    return marked


def repurchase_shares(
    item: Rows,
    buyers: Weights,
    repeat_buyers: Weights,
    category: Rows,
    categories: int,
    prior_buyers: float,
) -> Weights:
    """The share of the buyers of items who bought them again, towards category and shop."""
    by_category = [
        np.bincount(np.where(category < 0, categories, category), column, categories + 1)
        for column in (buyers, repeat_buyers)
    ]
    shop = repeat_buyers.sum() / max(float(buyers.sum()), 1.0)
    share = (by_category[1] + prior_buyers * shop) / (by_category[0] + prior_buyers)
    share[-1] = shop
    prior = prior_buyers * share[category[item]]
    return np.asarray((repeat_buyers[item] + prior) / (buyers[item] + prior_buyers), np.float32)
