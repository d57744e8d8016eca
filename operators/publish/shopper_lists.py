"""The lists of shoppers. The one writer of their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.events.processing_errors import FATAL_ERRORS
from operators.publish.item_lists import LIST_MODEL_VERSION
from operators.recommend.online_evaluation import LIST_TTL_S
from state import keys
from state.resp import pack_set_bytes
from state.shopper import PERSONALIZATION

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from operators.recommend.recommender import Recommender
    from state.entries import ActiveShopper
    from state.messages import Write

EMPTY_LISTS_MAX = 256
"""Empty lists that are made anew with a batch that brings new items; one takes 50 us."""
ATTEMPTS_MAX = 100
"""Attempts to make the lists of a batch where that raises: enough to find five shoppers at fault."""


def write_lists(
    recommender: Recommender, active: Sequence[ActiveShopper], now_ms: int, writes: list[Write]
) -> int:
    """Lists of the active shoppers who do not refuse personalization; returns how many there are."""
    allowed = [row.shopper for row in active if not row.refused & PERSONALIZATION]
    if refused := [row.shopper for row in active if row.refused & PERSONALIZATION]:
        recommender.components.published_index.remove_rows(
            recommender.shoppers.get_or_add_many(refused)
        )
        writes += delete_lists(refused)
    lists = list_writes(recommender, allowed, now_ms)
    writes += lists
    return sum(isinstance(write, bytes) for write in lists)


def fill_empty_lists(recommender: Recommender, now_ms: int) -> list[Write]:
    """Some lists that were empty when they were made, the newest first, now that there are new items."""
    rows = recommender.components.published_index.rows_with_empty_list(now_ms, EMPTY_LISTS_MAX)
    ids = recommender.shoppers.ids
    return list_writes(recommender, [ids[row] for row in rows.tolist()], now_ms)


def delete_lists(shoppers: Iterable[str]) -> list[Write]:
    """Delete the lists of shoppers."""
    return [("DEL", keys.top_key(name, keys.SLOT)) for name in shoppers]


def list_writes(recommender: Recommender, names: Sequence[str], now_ms: int) -> list[Write]:
    """The lists of shoppers as of now; an empty one is deleted.

    Where making them raises, they are made by halves: all but those of the shoppers at fault.
    """
    attempts_left = ATTEMPTS_MAX
    remaining, writes = [list(names)] if names else [], []
    while remaining:
        chunk = remaining.pop()
        try:
            writes += _render_lists(recommender, chunk, now_ms)
        except FATAL_ERRORS:
            raise
        except Exception:
            attempts_left -= 1
            if len(chunk) > 1 and attempts_left > 0:
                middle = len(chunk) // 2
                remaining += [chunk[middle:], chunk[:middle]]
            else:
                recommender.components.errors.record("lists", chunk[0])
    return writes


def _render_lists(recommender: Recommender, names: Sequence[str], now_ms: int) -> list[Write]:
    texts = recommender.recommend(names, now_ms).json(now_ms, LIST_MODEL_VERSION)
    top_keys = [keys.top_key(name, keys.SLOT) for name in names]
    return [
        pack_set_bytes(key, text, LIST_TTL_S) if text else ("DEL", key)
        for key, text in zip(top_keys, texts, strict=True)
    ]
