"""The popular lists: of the shop, what is trending, and of scopes. The one writer of their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from operators.publish.item_lists import LIST_MODEL_VERSION
from state import keys
from state.resp import pack_set_bytes

if TYPE_CHECKING:
    from operators.recommend.popular_lists import PopularLists
    from state.messages import Write

POPULAR_TTL_S = 2 * 86_400


def popular_writes(popular_lists: PopularLists, now_ms: int) -> list[Write]:
    """The lists of the shop, and those of scopes that changed; an empty one is deleted."""
    scopes, ranked = popular_lists.take_changed_scopes()
    texts = [*zip(scopes, ranked.json(now_ms, LIST_MODEL_VERSION), strict=True)]
    of_shop = popular_lists.popular_list().json(now_ms, LIST_MODEL_VERSION)
    texts += [(("all", ""), text) for text in of_shop]
    trending = popular_lists.trending_list(now_ms).json(now_ms, LIST_MODEL_VERSION)
    texts += [(("trending", ""), text) for text in trending]
    writes: list[Write] = []
    for (kind, value), text in texts:
        key = keys.popular_key(kind, value)
        writes.append(pack_set_bytes(key, text, POPULAR_TTL_S) if text else ("DEL", key))
    return writes
