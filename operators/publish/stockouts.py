"""Decides which lists in Redis are written anew, and which are deleted, when an item sells out.

Lists of items are the affair of who trains items: `item_lists.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.publish.item_lists import split_by_recency
from operators.publish.popular import popular_writes
from operators.publish.shopper_lists import delete_lists, list_writes

if TYPE_CHECKING:
    from operators.recommend.recommender import Recommender
    from state.arrays import Rows
    from state.config_lists import OutOfStock
    from state.messages import Write


def shopper_stockout_writes(
    recommender: Recommender,
    sold_out: Rows,
    restocked: Rows,
    rule: OutOfStock,
    now_ms: int,
    reporting_time_ms: int,
) -> list[Write]:
    """What follows from items that sold out or came back, after the lists of active shoppers.

    `rewrite_max` lists that hold a sold-out item are written anew, the newest first, but none that has
    expired. The others are deleted: a storefront falls back on popular items until they are written
    again, with the shopper's next event. Restocked items come into lists when these are written.
    """
    components = recommender.components
    if not rule.enabled or not (len(sold_out) or len(restocked)):
        return []
    writes: list[Write] = []
    if len(sold_out):
        ids = recommender.shoppers.ids
        rewrite, delete = split_by_recency(
            components.published_index, sold_out, now_ms, rule.rewrite_max
        )
        writes += list_writes(recommender, [ids[row] for row in rewrite.tolist()], now_ms)
        writes += delete_lists(ids[row] for row in delete.tolist())
        components.published_index.remove_rows(delete)
    for items in (sold_out, restocked):
        if len(items):
            components.popular_lists.mark_lists_containing(items)
    return writes + popular_writes(components.popular_lists, reporting_time_ms)
