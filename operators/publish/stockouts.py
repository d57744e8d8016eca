"""An item sells out: the lists in Redis that hold it are made anew, within the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.publish import aggregates, shopper_lists
from state import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from operators.personalize.state import PersonalizationState
    from operators.recommend.published_index import PublishedIndex
    from operators.recommend.rendering import RankedLists
    from state.arrays import Rows
    from state.messages import Write


def stockout_writes(learned: PersonalizationState) -> list[Write]:
    """What follows from items that sold out or came back, after the lists of who was active.

    Of each kind `rewrite_max` lists that hold a sold-out item are made anew, those written last, but
    none that would have expired. The others are taken back: a storefront falls back on what is popular
    until they are made again, which for a shopper is the next event. What is back comes into lists when
    they are made.
    """
    recommender, now_ms = learned.recommender, learned.newest_event_ms
    of_items = recommender.components.item_lists
    rule = learned.settings.lists.rules.out_of_stock
    sold_out, restocked = recommender.components.item_features.take_stock_changes()
    if not rule.enabled or not (len(sold_out) or len(restocked)):
        return []
    writes: list[Write] = []
    if len(sold_out):
        ids = recommender.shoppers.ids
        rewrite, delete = _split_by_recency(
            recommender.components.published_index, sold_out, now_ms, rule.rewrite_max
        )
        writes += shopper_lists.list_writes(learned, [ids[row] for row in rewrite.tolist()])
        writes += [("DEL", keys.top_key(ids[row], keys.SLOT)) for row in delete.tolist()]
        recommender.components.published_index.remove_rows(delete)
        writes += _item_list_writes(
            learned, sold_out, of_items.published_similar, of_items.similar_to, keys.similar_key
        )
        writes += _item_list_writes(
            learned, sold_out, of_items.published_bought, of_items.bought_with, keys.bought_key
        )
        recommender.components.popular_lists.mark_lists_containing(sold_out)
    if len(restocked):
        of_items.mark_lists_containing(restocked)
        recommender.components.popular_lists.mark_lists_containing(restocked)
    return writes + aggregates.popular_writes(learned)


def _item_list_writes(
    learned: PersonalizationState,
    sold_out: Rows,
    published: PublishedIndex,
    render: Callable[[Rows, int], tuple[list[str], RankedLists]],
    key_of: Callable[[str], str],
) -> list[Write]:
    now_ms, limit = learned.newest_event_ms, learned.settings.lists.rules.out_of_stock.rewrite_max
    rewrite, delete = _split_by_recency(published, sold_out, now_ms, limit)
    published.remove_rows(delete)
    ids = learned.recommender.items.ids
    writes = aggregates.item_list_writes(render(rewrite, now_ms), key_of, now_ms)
    return writes + [("DEL", key_of(ids[row])) for row in delete.tolist()]


def _split_by_recency(
    published: PublishedIndex, sold_out: Rows, now_ms: int, limit: int
) -> tuple[Rows, Rows]:
    """Whose lists are made anew, and whose are taken back."""
    current, expired = published.rows_containing(sold_out, now_ms)
    return current[:limit], np.concatenate([current[limit:], expired])
