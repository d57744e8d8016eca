"""Decides which lists in Redis are written anew, and which are deleted, when an item sells out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.publish import item_lists
from operators.publish.popular import popular_writes
from operators.publish.shopper_lists import delete_lists, list_writes

if TYPE_CHECKING:
    from operators.recommend.published_index import PublishedIndex
    from operators.recommend.recommender import Recommender
    from state.arrays import Rows
    from state.config_lists import OutOfStock
    from state.messages import Write


def stockout_writes(
    recommender: Recommender, rule: OutOfStock, now_ms: int, reporting_time_ms: int
) -> list[Write]:
    """What follows from items that sold out or came back, after the lists of active shoppers.

    Of each kind `rewrite_max` lists that hold a sold-out item are written anew, the newest first, but
    none that has expired. The others are deleted: a storefront falls back on popular items until they
    are written again, for a shopper with its next event. Restocked items come into lists when these
    are written.
    """
    components = recommender.components
    sold_out, restocked = components.trainer.features.take_stock_changes()
    if not rule.enabled or not (len(sold_out) or len(restocked)):
        return []
    writes: list[Write] = []
    if len(sold_out):
        ids = recommender.shoppers.ids
        rewrite, delete = _split_by_recency(
            components.published_index, sold_out, now_ms, rule.rewrite_max
        )
        writes += list_writes(recommender, [ids[row] for row in rewrite.tolist()], now_ms)
        writes += delete_lists(ids[row] for row in delete.tolist())
        components.published_index.remove_rows(delete)
        writes += _item_list_writes(recommender, sold_out, rule.rewrite_max, now_ms)
        components.popular_lists.mark_lists_containing(sold_out)
    if len(restocked):
        components.trainer.item_lists.mark_lists_containing(restocked)
        components.popular_lists.mark_lists_containing(restocked)
    return writes + popular_writes(components.popular_lists, reporting_time_ms)


def _item_list_writes(
    recommender: Recommender, sold_out: Rows, limit: int, now_ms: int
) -> list[Write]:
    lists, ids = recommender.trainer.item_lists, recommender.trainer.items.ids
    rewrite, delete = _split_by_recency(lists.published_similar, sold_out, now_ms, limit)
    lists.published_similar.remove_rows(delete)
    writes = item_lists.similar_writes(lists.similar_to(rewrite, now_ms), now_ms)
    writes += item_lists.delete_similar(ids, delete)
    rewrite, delete = _split_by_recency(lists.published_bought, sold_out, now_ms, limit)
    lists.published_bought.remove_rows(delete)
    writes += item_lists.bought_writes(lists.bought_with(rewrite, now_ms), now_ms)
    return writes + item_lists.delete_bought(ids, delete)


def _split_by_recency(
    published: PublishedIndex, sold_out: Rows, now_ms: int, limit: int
) -> tuple[Rows, Rows]:
    """The rows whose lists are written anew, and those whose lists are deleted."""
    current, expired = published.rows_containing(sold_out, now_ms)
    return current[:limit], np.concatenate([current[limit:], expired])
