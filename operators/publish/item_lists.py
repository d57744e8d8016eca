"""The lists of items: similar items, and items bought together. The one writer of both keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from operators.recommend.published_index import ITEM_LIST_TTL_S
from state import keys
from state.resp import pack_set_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from operators.recommend.item_lists import ItemLists
    from operators.recommend.published_index import PublishedIndex
    from operators.recommend.rendering import RankedLists
    from state.arrays import Rows
    from state.messages import Write

    NamedLists = tuple[Sequence[str], RankedLists]
    """Item ids, and the list of each."""

LIST_MODEL_VERSION = "1"
"""The version in the JSON of every list."""


def similar_writes(lists: NamedLists, now_ms: int) -> list[Write]:
    """Lists of similar items; an empty one is deleted."""
    return _list_writes(lists, keys.similar_key, now_ms)


def bought_writes(lists: NamedLists, now_ms: int) -> list[Write]:
    """Lists of items bought together; an empty one is deleted."""
    return _list_writes(lists, keys.bought_key, now_ms)


def changed_list_writes(item_lists: ItemLists, now_ms: int, limit: int | None) -> list[Write]:
    """At most so many lists of each kind that changed, all of them in turn."""
    similar = similar_writes(item_lists.take_changed_similar(now_ms, limit), now_ms)
    return similar + bought_writes(item_lists.take_changed_bought(now_ms, limit), now_ms)


def stockout_writes(
    lists: ItemLists, ids: Sequence[str], sold_out: Rows, restocked: Rows, now_ms: int, limit: int
) -> list[Write]:
    """What follows for lists of items from items that sold out or came back.

    Of each kind `limit` lists that hold a sold-out item are written anew, the newest first, but none
    that has expired; the others are deleted. A list that could hold a restocked item changes later.
    """
    writes: list[Write] = []
    if len(sold_out):
        rewrite, delete = split_by_recency(lists.published_similar, sold_out, now_ms, limit)
        lists.published_similar.remove_rows(delete)
        writes += similar_writes(lists.similar_to(rewrite, now_ms), now_ms)
        writes += [("DEL", keys.similar_key(ids[row])) for row in delete.tolist()]
        rewrite, delete = split_by_recency(lists.published_bought, sold_out, now_ms, limit)
        lists.published_bought.remove_rows(delete)
        writes += bought_writes(lists.bought_with(rewrite, now_ms), now_ms)
        writes += [("DEL", keys.bought_key(ids[row])) for row in delete.tolist()]
    if len(restocked):
        lists.mark_lists_containing(restocked)
    return writes


def split_by_recency(
    published: PublishedIndex, sold_out: Rows, now_ms: int, limit: int
) -> tuple[Rows, Rows]:
    """The rows whose lists are written anew, and those whose lists are deleted."""
    current, expired = published.rows_containing(sold_out, now_ms)
    return current[:limit], np.concatenate([current[limit:], expired])


def _list_writes(lists: NamedLists, key_of: Callable[[str], str], now_ms: int) -> list[Write]:
    writes: list[Write] = []
    for name, text in zip(lists[0], lists[1].json(now_ms, LIST_MODEL_VERSION), strict=True):
        key = key_of(name)
        writes.append(pack_set_bytes(key, text, ITEM_LIST_TTL_S) if text else ("DEL", key))
    return writes
