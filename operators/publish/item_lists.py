"""The lists of items: similar items, and items bought together. The one writer of both keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.recommend.published_index import ITEM_LIST_TTL_S
from state import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from operators.recommend.item_lists import ItemLists
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


def delete_similar(items: Sequence[str], rows: Rows) -> list[Write]:
    """Delete the lists of similar items of these rows."""
    return [("DEL", keys.similar_key(items[row])) for row in rows.tolist()]


def delete_bought(items: Sequence[str], rows: Rows) -> list[Write]:
    """Delete the lists of items bought together of these rows."""
    return [("DEL", keys.bought_key(items[row])) for row in rows.tolist()]


def _list_writes(lists: NamedLists, key_of: Callable[[str], str], now_ms: int) -> list[Write]:
    writes: list[Write] = []
    for name, text in zip(lists[0], lists[1].json(now_ms, LIST_MODEL_VERSION), strict=True):
        key = key_of(name)
        writes.append(("SET", key, text, "EX", ITEM_LIST_TTL_S) if text else ("DEL", key))
    return writes
