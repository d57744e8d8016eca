"""Reads what a storefront reads, by the key contract alone. Never writes.

`docs/storefront.md` has the same reads in a few lines of Python and JavaScript.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from serving.list_order import ALL, CATEGORY, OWN, SEGMENT, fallback_lists, own_list
from state import keys
from state.replies import decode_fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from serving.list_order import ListKey
    from state.store import Store

OWN_LIST = "own list"
_ORIGINS = {
    OWN: OWN_LIST,
    SEGMENT: "popular in the segment {}",
    CATEGORY: "popular in the category {}",
    ALL: "popular in the whole shop",
}


class ListEntry(NamedTuple):
    """One item of a list.

    `reason` is `because:` or `bought:` with an item id, or the name of a learner.
    """

    item: str
    score: float
    reason: str


class TopList(NamedTuple):
    """A list in Redis: its kind (`origin`), its key, and the event time at which it was written."""

    origin: str
    key: str
    at_ms: int
    source: str
    entries: list[ListEntry]


class SegmentSize(NamedTuple):
    """A segment and the number of its members."""

    sid: str
    name: str
    size: int


class Storefront:
    """Reads by shopper, item and segment. A method needs one round trip unless it says otherwise."""

    def __init__(self, store: Store) -> None:
        # Typed as bytes or str in redis-py; this client always returns bytes.
        self._client: Any = store.client

    def resolve(self, some_id: str) -> str:
        """Return the shopper of an id: an anonymous id may have been merged into a user."""
        user_id: bytes | None = self._client.get(keys.alias_key(some_id))
        return user_id.decode() if user_id else some_id

    def profile(self, shopper: str) -> dict[str, str]:
        """Return counters and features; empty for an unknown shopper."""
        return self._read_hash(keys.profile_key(shopper))

    def session(self, shopper: str) -> dict[str, str]:
        """Return the running session; empty if there is none."""
        return self._read_hash(keys.session_key(shopper))

    def segments_of(self, shopper: str) -> dict[str, int]:
        """Return the segments of a shopper with the time of entry (ms)."""
        entered = self._read_hash(keys.segments_key(shopper))
        return {sid: int(at_ms) for sid, at_ms in entered.items()}

    def top(self, shopper: str, slot: str = keys.SLOT) -> TopList | None:
        """Return the shopper's own list."""
        return self._read_list(OWN_LIST, keys.top_key(shopper, slot))

    def list_for(self, shopper: str, slot: str = keys.SLOT) -> TopList | None:
        """Return the list to show.

        The shopper's own list, else what is popular in the shopper's cluster, in the favourite
        category, or in the whole shop. None: the storefront shows the shop's own list. One round
        trip for a shopper with a list, at most five more without.
        """
        lists = (
            self._read_list(_ORIGINS[place].format(name), key)
            for place, name, key in self._list_keys(shopper, slot)
        )
        return next(filter(None, lists), None)

    def names(self, items: Iterable[str]) -> dict[str, str]:
        """Return the display name of each item."""
        wanted = list(dict.fromkeys(items))
        reads = self._client.pipeline(transaction=False)
        for item in wanted:
            reads.hmget(keys.card_key(item), "name", "brand", "category")
        cards = zip(wanted, reads.execute(), strict=True)
        return {
            item: display_name(item, *(text and text.decode() for text in card))
            for item, card in cards
        }

    def segments(self) -> list[SegmentSize]:
        """Return all segments with their sizes, the biggest first. Two round trips."""
        registry = self._read_hash(keys.registry_key())
        reads = self._client.pipeline(transaction=False)
        for sid in registry:
            reads.zcard(keys.members_key(sid))
        segments = [
            SegmentSize(sid, orjson.loads(about)["name"], size)
            for (sid, about), size in zip(registry.items(), reads.execute(), strict=True)
        ]
        return sorted(segments, key=lambda segment: (-segment.size, segment.sid))

    def newest_members(self, sid: str, n: int) -> list[str]:
        """Return the shoppers that entered a segment last."""
        return [name.decode() for name in self._client.zrevrange(keys.members_key(sid), 0, n - 1)]

    def counters(self) -> dict[str, str]:
        """Return the counters of the flow."""
        return self._read_hash(keys.meta_key())

    def _list_keys(self, shopper: str, slot: str) -> Iterator[ListKey]:
        """Yield where each list that may be shown lies, in the order of the contract."""
        yield own_list(shopper, slot)
        category = self._client.hget(keys.profile_key(shopper), "top_category")
        yield from fallback_lists(self.segments_of(shopper), category.decode() if category else "")

    def _read_hash(self, key: str) -> dict[str, str]:
        return decode_fields(self._client.hgetall(key))

    def _read_list(self, origin: str, key: str) -> TopList | None:
        text: bytes | None = self._client.get(key)
        if text is None:
            return None
        stored = orjson.loads(text)
        entries = [ListEntry(*entry) for entry in stored["items"]]
        return TopList(origin, key, stored["at"], stored["source"], entries)


def display_name(item: str, name: str | None, brand: str | None, category: str | None) -> str:
    """Return the display name of an item: its name, else brand and category, else its id.

    >>> display_name("7", None, "Bee", "kitchen/mug"), display_name("7", None, None, None)
    ('Bee mug', '7')
    """
    kind = category.rpartition("/")[2] if category else None
    return name or " ".join(filter(None, (brand, kind))) or item
