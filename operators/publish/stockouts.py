"""An item sells out: the lists in Redis that hold it are made anew, within the batch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.publish import aggregates, shopper_lists
from state import keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from operators.personalize.state import Learned
    from operators.recommend.published_index import Written
    from operators.recommend.rendering import RankedLists
    from state.interactions import Rows
    from state.messages import Write


def writes(learned: Learned) -> list[Write]:
    """What follows from items that sold out or came back, after the lists of who was active.

    Of each kind `rewrite_max` lists that hold a sold-out item are made anew, those written last, but
    none that would have expired. The others are taken back: a storefront falls back on what is popular
    until they are made again, which for a shopper is the next event. What is back comes into lists when
    they are made.
    """
    recommender, now_ms = learned.recommender, learned.now_ms
    of_items = recommender.of_items
    rule = learned.settings.lists.rules.out_of_stock
    gone, back = recommender.facts.take_turned()
    if not rule.enabled or not (len(gone) or len(back)):
        return []
    told: list[Write] = []
    if len(gone):
        ids = recommender.shoppers.ids
        again, others = _parted(recommender.written, gone, now_ms, rule.rewrite_max)
        told += shopper_lists.of(learned, [ids[row] for row in again.tolist()])
        told += [("DEL", keys.top_key(ids[row], keys.SLOT)) for row in others.tolist()]
        recommender.written.forget(others)
        told += _of_items(
            learned, gone, of_items.written_similar, of_items.similar_of, keys.similar_key
        )
        told += _of_items(
            learned, gone, of_items.written_bought, of_items.bought_with, keys.bought_key
        )
        recommender.of_all.change_holding(gone)
    if len(back):
        of_items.change_holding(back)
        recommender.of_all.change_holding(back)
    return told + aggregates.popular(learned)


def _of_items(
    learned: Learned,
    gone: Rows,
    written: Written,
    made: Callable[[Rows, int], tuple[list[str], RankedLists]],
    key_of: Callable[[str], str],
) -> list[Write]:
    now_ms, most = learned.now_ms, learned.settings.lists.rules.out_of_stock.rewrite_max
    again, others = _parted(written, gone, now_ms, most)
    written.forget(others)
    ids = learned.recommender.items.ids
    told = aggregates.of_items(made(again, now_ms), key_of, now_ms)
    return told + [("DEL", key_of(ids[row])) for row in others.tolist()]


def _parted(written: Written, gone: Rows, now_ms: int, most: int) -> tuple[Rows, Rows]:
    """Whose lists are made anew, and whose are taken back."""
    lives, old = written.holding(gone, now_ms)
    return lives[:most], np.concatenate([lives[most:], old])
