"""What a tab with one segment looks at: its definition, who is in it, and what sets it apart.

Values: `definition`, `versions`, `lifts`, `overlap`, `map`, `members`. What nobody has
written is absent. Size and worth stand in the shop's own room.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from serving.dashboard.document import Reading
from serving.dashboard.redis_values import json, number, pairs, text, texts
from serving.reader import called
from state import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from state.store import Read, Reads

MEMBERS = 20
"""Members a page; the newest of them live."""
SLOW_S = 1.0
MAP_S = 10.0
OVERLAPS_MAX = 12
LIFTS_MAX = 10
MAP_POINTS_MAX = 1500
MEMBER_FIELDS = ("known", "last_ms", "sessions", "purchases", "revenue", "top_category")
_CARD = ("name", "brand", "category")


class OneSegment:
    """Looks at one segment: one round trip, and every second a few more."""

    def __init__(self, reads: Reads, sid: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._reads = reads
        self._sid = sid
        self._clock = clock
        self._slow_s = self._map_s = float("-inf")
        self._slow: dict[str, Any] = {}
        self._map: Any = None
        self._shown: list[tuple[str, int]] = []
        self._members: list[list[Any]] = []

    async def look(self) -> Reading:
        """Read. Raises UserError."""
        now_s = self._clock()
        newest = await self._reads.one(
            "ZREVRANGE", keys.members_key(self._sid), 0, MEMBERS - 1, "WITHSCORES"
        )
        shown = pairs(newest)
        if now_s - self._slow_s >= SLOW_S:
            await self._read_slow(now_s)
            self._slow_s, self._shown = now_s, []
        if shown != self._shown:
            self._shown, self._members = shown, await described(self._reads, shown)
        return Reading(self._slow | {"members": self._members}, {}, None)

    async def _read_slow(self, now_s: float) -> None:
        sid = self._sid
        definition, versions, lifts, overlap = await self._reads.many(
            [
                ("HGETALL", keys.definition_key(sid)),
                ("HGETALL", keys.versions_key(sid)),
                ("GET", keys.lifts_key(sid)),
                ("HGETALL", keys.overlap_key(sid)),
            ]
        )
        described = texts(definition)
        if described.get("kind") == "cluster" and now_s - self._map_s >= MAP_S:
            found = await self._reads.one("GET", keys.clusters_map_key())
            self._map_s, self._map = now_s, _thinned(json(found))
        shared = sorted(
            ((text(other), number(n) or 0) for other, n in overlap.items()), key=lambda one: -one[1]
        )
        told = {
            "definition": described,
            "versions": _versions(versions),
            "lifts": await self._named(json(lifts)),
            "overlap": shared[:OVERLAPS_MAX],
            "map": self._map,
        }
        self._slow = {name: value for name, value in told.items() if value}

    async def _named(self, lifts: Any) -> Any:
        """Items by what a person calls them."""
        if not isinstance(lifts, dict):
            return None
        items = lifts.get("items", [])[:LIFTS_MAX]
        cards = await self._reads.many(
            ("HMGET", keys.card_key(str(item)), *_CARD) for item, *_ in items
        )
        named = [
            [called(str(item), *(part and text(part) for part in card)), *rest, str(item)]
            for (item, *rest), card in zip(items, cards, strict=True)
        ]
        return lifts | {"categories": lifts.get("categories", [])[:LIFTS_MAX], "items": named}


async def described(reads: Reads, members: Sequence[tuple[str, int]]) -> list[list[Any]]:
    """Members with what their profiles say: shopper, entered (ms), then `MEMBER_FIELDS`."""
    commands: list[Read] = [
        ("HMGET", keys.profile_key(shopper), *MEMBER_FIELDS) for shopper, _ in members
    ]
    profiles = await reads.many(commands)
    return [
        [shopper, at_ms, *(number(value) for value in values[:-1]), text(values[-1])]
        for (shopper, at_ms), values in zip(members, profiles, strict=True)
    ]


def _versions(stored: Mapping[bytes, bytes]) -> list[dict[str, Any]]:
    """All versions, the newest first."""
    found = [{"version": number(v) or 0, **(json(about) or {})} for v, about in stored.items()]
    return sorted(found, key=lambda one: -one["version"])


def _thinned(found: Any) -> Any:
    """A map with as many points as can be told apart."""
    if not isinstance(found, dict):
        return None
    points = found.get("points", [])
    step = -(-len(points) // MAP_POINTS_MAX) or 1
    return found | {"points": points[::step]}
