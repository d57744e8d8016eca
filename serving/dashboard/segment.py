"""The view of one segment: its definition, its members, and how they differ from other shoppers.

Values: `definition`, `versions`, `lifts`, `overlap`, `map`, `members`. A value that was never
written is absent. Size and revenue are part of the shop view.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from serving.dashboard.document import ViewResult
from serving.dashboard.redis_values import number, parse_json, scored_members, text, texts
from serving.reader import display_name
from state import keys

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from state.store import AsyncReader, ReadCommand

MEMBERS = 20
"""Members on one page; the first page is live."""
SLOW_INTERVAL_S = 1.0
MAP_INTERVAL_S = 10.0
OVERLAPS_MAX = 12
LIFTS_MAX = 10
MAP_POINTS_MAX = 1500
MEMBER_FIELDS = ("known", "last_ms", "sessions", "purchases", "revenue", "top_category")
_CARD = ("name", "brand", "category")


class SegmentView:
    """Reads one segment: one round trip each time, and a few more every second."""

    def __init__(
        self, reader: AsyncReader, sid: str, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader = reader
        self._sid = sid
        self._clock = clock
        self._slow_read_s = self._map_read_s = float("-inf")
        self._slow: dict[str, Any] = {}
        self._map: Any = None
        self._newest: list[tuple[str, int]] = []
        self._members: list[list[Any]] = []

    async def read(self) -> ViewResult:
        """Read. Raises StoreError."""
        now_s = self._clock()
        newest = await self._reader.read_one(
            "ZREVRANGE", keys.members_key(self._sid), 0, MEMBERS - 1, "WITHSCORES"
        )
        members = scored_members(newest)
        if now_s - self._slow_read_s >= SLOW_INTERVAL_S:
            await self._read_slow(now_s)
            self._slow_read_s, self._newest = now_s, []
        if members != self._newest:
            self._newest, self._members = members, await describe_members(self._reader, members)
        return ViewResult(self._slow | {"members": self._members}, {}, None)

    async def _read_slow(self, now_s: float) -> None:
        sid = self._sid
        definition, versions, lifts, overlap = await self._reader.read_many(
            [
                ("HGETALL", keys.definition_key(sid)),
                ("HGETALL", keys.versions_key(sid)),
                ("GET", keys.lifts_key(sid)),
                ("HGETALL", keys.overlap_key(sid)),
            ]
        )
        fields = texts(definition)
        if fields.get("kind") == "cluster" and now_s - self._map_read_s >= MAP_INTERVAL_S:
            stored_map = await self._reader.read_one("GET", keys.clusters_map_key())
            self._map_read_s, self._map = now_s, _downsample(parse_json(stored_map))
        shared = sorted(
            ((text(other), number(n) or 0) for other, n in overlap.items()), key=lambda one: -one[1]
        )
        values = {
            "definition": fields,
            "versions": _versions(versions),
            "lifts": await self._with_item_names(parse_json(lifts)),
            "overlap": shared[:OVERLAPS_MAX],
            "map": self._map,
        }
        self._slow = {name: value for name, value in values.items() if value}

    async def _with_item_names(self, lifts: Any) -> Any:
        """Replace item ids by display names."""
        if not isinstance(lifts, dict):
            return None
        items = lifts.get("items", [])[:LIFTS_MAX]
        cards = await self._reader.read_many(
            ("HMGET", keys.card_key(str(item)), *_CARD) for item, *_ in items
        )
        named = [
            [display_name(str(item), *(part and text(part) for part in card)), *rest, str(item)]
            for (item, *rest), card in zip(items, cards, strict=True)
        ]
        return lifts | {"categories": lifts.get("categories", [])[:LIFTS_MAX], "items": named}


async def describe_members(
    reader: AsyncReader, members: Sequence[tuple[str, int]]
) -> list[list[Any]]:
    """Return a row for each member: shopper, time of entry (ms), then `MEMBER_FIELDS`."""
    commands: list[ReadCommand] = [
        ("HMGET", keys.profile_key(shopper), *MEMBER_FIELDS) for shopper, _ in members
    ]
    profiles = await reader.read_many(commands)
    return [
        [shopper, at_ms, *(number(value) for value in values[:-1]), text(values[-1])]
        for (shopper, at_ms), values in zip(members, profiles, strict=True)
    ]


def _versions(stored: Mapping[bytes, bytes]) -> list[dict[str, Any]]:
    """Return all versions, the newest first."""
    versions = [
        {"version": number(v) or 0, **(parse_json(about) or {})} for v, about in stored.items()
    ]
    return sorted(versions, key=lambda one: -one["version"])


def _downsample(cluster_map: Any) -> Any:
    """Return the map with as many points as a viewer can distinguish."""
    if not isinstance(cluster_map, dict):
        return None
    points = cluster_map.get("points", [])
    step = -(-len(points) // MAP_POINTS_MAX) or 1
    return cluster_map | {"points": points[::step]}
