"""The order in which a shopper's lists are looked for: one order for every reader.

Also described in `docs/storefront.md`, with readers in Python and JavaScript.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from state import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

CLUSTER_PREFIX = "cluster-"
"""Prefix of the ids of cluster segments, which have popular lists."""
OWN, SEGMENT, CATEGORY, ALL = "own", "segment", "category", "all"


class ListKey(NamedTuple):
    """Where a list lies: its place (`own`, `segment`, `category`, `all`), of which one, and its key."""

    place: str
    name: str
    key: str


def own_list(shopper: str, slot: str) -> ListKey:
    """The list of the shopper's own, which comes first."""
    return ListKey(OWN, "", keys.top_key(shopper, slot))


def fallback_lists(segments: Iterable[str], top_category: str) -> list[ListKey]:
    """The lists that follow the own one: of the shopper's cluster, favourite category, and the shop.

    >>> [tuple(one)[:2] for one in fallback_lists(["rfm-loyal", "cluster-2"], "shoes")]
    [('segment', 'cluster-2'), ('category', 'shoes'), ('all', '')]
    """
    lists = [
        ListKey(SEGMENT, segment, keys.popular_key("segment", segment))
        for segment in segments
        if segment.startswith(CLUSTER_PREFIX)
    ]
    if top_category:
        lists.append(ListKey(CATEGORY, top_category, keys.popular_key("category", top_category)))
    return [*lists, ListKey(ALL, "", keys.popular_key())]
