"""What every tab looks at: figures of the shop, all segments, the last changes, data quality.

Values by name: `now`, `workers`, `quality`, `lists`, and of each segment `segment/<id>` and
`spark/<id>`. Tails: `changes`, `events`. What nobody has written is left out, and the page says so.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from serving.dashboard.document import Reading
from serving.dashboard.history import SHOP_FIELDS, gapless
from serving.dashboard.redis_values import figures, json, text
from serving.dashboard.streams import Follower, changes, events, minutes
from state import keys
from state.times import MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from serving.dashboard.history import Row
    from serving.dashboard.redis_values import Number
    from serving.dashboard.streams import Entry
    from state.store import Read, Reads

SEGMENTS_MAX = 1000
WORKERS_MAX = 64
CHANGES_FIRST, CHANGES_MOST = 25, 50
EVENTS_FIRST, EVENTS_MOST = 4, 4
EVENTS_A_TURN = 25
LISTS_SEGMENTS = 8
SPARK_MINUTES = 60
SPARK_FIELDS = ("size", "entered", "left")
RATE_S = 5.0
GAP_S = 2.0
"""Who has not looked for so long begins anew: what came meanwhile is no news."""
SLOW_S = 1.0
"""What changes once a second is read once a second."""

Registry = dict[str, dict[str, Any]]


class Shop:
    """Looks at the whole shop; two round trips, one more where a minute of history is new."""

    def __init__(self, reads: Reads, clock: Callable[[], float] = time.monotonic) -> None:
        self._reads = reads
        self._clock = clock
        self._changes = Follower(
            [keys.change_stream_key(stream) for stream in range(keys.CHANGE_STREAMS)],
            first=CHANGES_FIRST,
            most=CHANGES_MOST,
        )
        self._events = Follower([keys.recent_key()], first=EVENTS_FIRST, most=EVENTS_MOST)
        self._counted: deque[tuple[float, Number]] = deque()
        self._written: tuple[object, float] | None = None
        self._slow_s = float("-inf")
        self._slow: dict[str, Any] = {}
        self._newest: dict[str, bytes] = {}
        self._histories: dict[str, list[Row]] = {}
        self._minute = 0
        self._stats: dict[str, dict[str, Number]] = {}
        self._lines: dict[str, list[float | None] | None] = {}
        self._is_anew = True
        self._looked_s = float("-inf")

    async def look(self) -> Reading:
        """Read everything. Raises UserError."""
        now_s = self._clock()
        if now_s - self._looked_s > GAP_S:
            self._begin_anew()
            # What was written meanwhile may be old by now, and the rate is of then.
            self._written = None
            self._counted.clear()
        self._looked_s = now_s
        try:
            return await self._look(now_s)
        except BaseException:
            # Nobody knows what the Redis that answers next has of what we saw.
            self._begin_anew()
            raise

    def _begin_anew(self) -> None:
        """Know nothing of what was read before."""
        self._changes.begin_anew()
        self._events.begin_anew()
        self._newest.clear()
        self._slow_s = float("-inf")
        self._is_anew = True

    async def _look(self, now_s: float) -> Reading:
        first: list[Read] = [
            ("HGETALL", keys.meta_key()),
            ("HGETALL", keys.shop_now_key()),
            ("HGETALL", keys.registry_key()),
        ]
        of_changes, of_events = self._changes.reads(), self._events.reads()
        meta, now, registered, *rest = await self._reads.many([*first, *of_changes, *of_events])
        came, emptied = self._changes.take(rest[: len(of_changes)])
        told, emptied_too = self._events.take(rest[len(of_changes) :])
        registry: Registry = {
            text(sid): json(about) or {} for sid, about in sorted(registered.items())[:SEGMENTS_MAX]
        }
        sizes = await self._sizes(registry)
        if now_s - self._slow_s >= SLOW_S or registry.keys() != self._stats.keys():
            self._slow_s = now_s
            await self._read_slow(registry, int(figures(now).get("at", 0)))
        values: dict[str, Any] = {"now": self._now(figures(meta), figures(now), now_s)}
        values["now"]["currency"] = text(now.get(b"currency"))
        values |= self._slow
        for sid, about in registry.items():
            values[f"segment/{sid}"] = about | self._stats[sid] | {"id": sid, "size": sizes[sid]}
            values[f"spark/{sid}"] = self._lines.get(sid)
        is_anew, self._is_anew = self._is_anew or emptied or emptied_too, False
        return Reading(
            values,
            {"changes": changes(came), "events": events(told)[-EVENTS_A_TURN:]},
            self._still_ms((meta, now), now_s),
            anew=is_anew,
        )

    async def _sizes(self, registry: Registry) -> dict[str, int]:
        """How many are in each segment: counted where the members are, so that it is what it says."""
        counts = await self._reads.many([("ZCARD", keys.members_key(sid)) for sid in registry])
        return dict(zip(registry, counts, strict=True))

    async def _read_slow(self, registry: Registry, at_ms: int) -> None:
        shop: list[Read] = [
            ("HGETALL", keys.quality_key()),
            ("HGETALL", keys.model_key("blend")),
            ("XREVRANGE", keys.shop_history_key(), "+", "-", "COUNT", SPARK_MINUTES),
            *(("GET", keys.worker_key(n)) for n in range(WORKERS_MAX)),
        ]
        of_segments: list[Read] = []
        for sid in registry:
            of_segments += [
                ("HGETALL", keys.stats_key(sid)),
                ("XREVRANGE", keys.history_key(sid), "+", "-", "COUNT", 1),
            ]
        replies = await self._reads.many([*shop, *of_segments])
        quality, blend, history, *beats = replies[: len(shop)]
        self._slow = {
            "quality": figures(quality),
            "lists": _lists(blend),
            "workers": [_worker(n, beat) for n, beat in enumerate(beats) if beat],
            "minutes": last_hour(minutes((history or [])[::-1], SHOP_FIELDS), SHOP_FIELDS, at_ms),
        }
        stats, newest = replies[len(shop) :: 2], replies[len(shop) + 1 :: 2]
        await self._read_sparks(dict(zip(registry, newest, strict=True)), at_ms)
        self._stats = {sid: figures(one) for sid, one in zip(registry, stats, strict=True)}

    async def _read_sparks(self, newest: Mapping[str, list[Entry] | None], at_ms: int) -> None:
        entry = {sid: found[0][0] for sid, found in newest.items() if found}
        changed = [sid for sid in entry if self._newest.get(sid) != entry[sid]]
        self._newest = entry
        self._histories = {sid: rows for sid, rows in self._histories.items() if sid in entry}
        replies = await self._reads.many(
            ("XREVRANGE", keys.history_key(sid), "+", "-", "COUNT", SPARK_MINUTES + 1)
            for sid in changed
        )
        for sid, found in zip(changed, replies, strict=True):
            self._histories[sid] = minutes((found or [])[::-1], SPARK_FIELDS)
        if changed or at_ms // MINUTE_MS != self._minute:
            self._minute = at_ms // MINUTE_MS
            self._lines = {sid: spark(rows, at_ms) for sid, rows in self._histories.items()}

    def _now(
        self, meta: Mapping[str, Number], now: Mapping[str, Number], now_s: float
    ) -> dict[str, Number | None]:
        """The figures of `ps:1:shop:now`, and what of them the flow's counts tell where it is absent."""
        events_read = meta.get("events", 0)
        self._counted.append((now_s, events_read))
        while len(self._counted) > 2 and now_s - self._counted[0][0] > RATE_S:
            self._counted.popleft()
        first_s, first_events = self._counted[0]
        passed_s = now_s - first_s
        rate = (events_read - first_events) / passed_s if passed_s >= 1 else None
        opened, closed = meta.get("sessions_opened"), meta.get("sessions_closed", 0)
        counted: dict[str, Number | None] = {
            "events": meta.get("events"),
            "events_per_s": None if rate is None or rate < 0 else round(rate, 1),
            "shoppers": meta.get("shoppers"),
            "sessions_open": None if opened is None else opened - closed,
            "watermark_ms": meta.get("watermark_ms"),
            "late": meta.get("late"),
            "duplicates": meta.get("duplicates"),
            "lag": meta.get("lag"),
            "items": meta.get("items"),
        }
        return counted | dict(now)

    def _still_ms(self, written: object, now_s: float) -> int | None:
        """How long ago what the flow writes with each batch changed; None before we saw that once."""
        if self._written is None:
            self._written = (written, float("-inf"))
        elif self._written[0] != written:
            self._written = (written, now_s)
        changed_s = self._written[1]
        return None if changed_s == float("-inf") else round((now_s - changed_s) * 1000)


def last_hour(history: Sequence[Row], fields: Sequence[str], at_ms: int) -> list[Row]:
    """The minutes of the hour before `at_ms`, or as many as there are, the open one left out."""
    open_ms = at_ms // MINUTE_MS * MINUTE_MS
    return gapless(history, fields, MINUTE_MS, open_ms - SPARK_MINUTES * MINUTE_MS, open_ms)


def spark(history: Sequence[Row], at_ms: int) -> list[float | None] | None:
    """Sizes of a segment: an hour before `at_ms`, or as it began, and after each minute since.

    >>> spark([[0, 5.0, 1.0, 0.0], [60_000, 9.0, 4.0, 0.0]], 180_000)
    [4.0, 5.0, 9.0, 9.0]
    """
    if not history:
        return None
    hour = last_hour(history, SPARK_FIELDS, at_ms)
    then = [row for row in history if (row[0] or 0) < (hour[0][0] or 0)]
    _, size, entered, left = history[0]
    began = (size or 0) - (entered or 0) + (left or 0)
    return [then[-1][1] if then else began, *(row[1] for row in hour)]


def _lists(blend: Mapping[bytes, bytes]) -> dict[str, Any]:
    """How good the lists are, and in the segments of which most were judged."""
    told = json(blend.get(b"segments")) or {}
    most = sorted(told.items(), key=lambda one: (-one[1][0], one[0]))[:LISTS_SEGMENTS]
    return figures(blend) | {"segments": most}


def _worker(number: int, beat: bytes) -> dict[str, Any]:
    told = json(beat) or {}
    age_ms = max(0, time.time_ns() // 1_000_000 - int(told.get("at", 0)))
    shown = {name: told.get(name) for name in ("host", "events_per_s", "lag", "version")}
    # Told anew every 5 s: to the second it would only be news.
    return {"n": number, "age_s": age_ms // 5000 * 5, **shown}
