"""The view of the shop, which every tab has: figures, all segments, the last changes, data quality.

Values: `now`, `workers`, `quality`, `lists`, `minutes`, and for each segment `segment/<id>` and
`spark/<id>`. Tails: `changes`, `events`. A value that was never written is absent, and the page
says so.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from serving.dashboard.document import ViewResult
from serving.dashboard.history import SHOP_FIELDS, fill_gaps
from serving.dashboard.redis_values import numbers, parse_json, text
from serving.dashboard.streams import StreamFollower, history_rows, parse_changes, parse_events
from state import keys
from state.times import MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from serving.dashboard.history import Row
    from serving.dashboard.redis_values import Number
    from serving.dashboard.streams import Entry
    from state.store import AsyncReader, ReadCommand

SEGMENTS_MAX = 1000
WORKERS_MAX = 64
CHANGES_FIRST, CHANGES_LIMIT = 25, 50
EVENTS_FIRST, EVENTS_LIMIT = 4, 4
EVENTS_PER_TICK = 25
LISTS_SEGMENTS = 8
WORKER_FIELDS = (
    "host",
    "events_per_s",
    "lag",
    "version",
    "freshness_p50_ms",
    "freshness_p99_ms",
)
"""What is shown of a heartbeat; the freshness is only in those of a process that makes lists."""
SPARK_MINUTES = 60
SPARK_FIELDS = ("size", "entered", "left")
RATE_WINDOW_S = 5.0
RESET_AFTER_S = 2.0
"""After so long without a read the tails start again: entries of the meantime are not new."""
SLOW_INTERVAL_S = 1.0
"""Seconds between reads of values that the flow writes once a second."""

Registry = dict[str, dict[str, Any]]


class ShopView:
    """Reads the whole shop: two round trips, and one more when a minute of history is new."""

    def __init__(self, reader: AsyncReader, clock: Callable[[], float] = time.monotonic) -> None:
        self._reader = reader
        self._clock = clock
        self._changes = StreamFollower(
            [keys.change_stream_key(stream) for stream in range(keys.CHANGE_STREAMS)],
            first=CHANGES_FIRST,
            limit=CHANGES_LIMIT,
        )
        self._events = StreamFollower([keys.recent_key()], first=EVENTS_FIRST, limit=EVENTS_LIMIT)
        self._event_counts: deque[tuple[float, Number]] = deque()
        self._last_write: tuple[object, float] | None = None
        self._slow_read_s = float("-inf")
        self._slow: dict[str, Any] = {}
        self._newest: dict[str, bytes] = {}
        self._histories: dict[str, list[Row]] = {}
        self._minute = 0
        self._stats: dict[str, dict[str, Number]] = {}
        self._lines: dict[str, list[float | None] | None] = {}
        self._needs_reset = True
        self._read_s = float("-inf")

    async def read(self) -> ViewResult:
        """Read everything. Raises StoreError."""
        now_s = self._clock()
        if now_s - self._read_s > RESET_AFTER_S:
            self._reset()
            # The last write and the event counts are too old for the idle time and the rate.
            self._last_write = None
            self._event_counts.clear()
        self._read_s = now_s
        try:
            return await self._read(now_s)
        except BaseException:
            # The Redis that answers next may be another one, without the entries read so far.
            self._reset()
            raise

    def _reset(self) -> None:
        """Forget everything that was read before."""
        self._changes.reset()
        self._events.reset()
        self._newest.clear()
        self._slow_read_s = float("-inf")
        self._needs_reset = True

    async def _read(self, now_s: float) -> ViewResult:
        first: list[ReadCommand] = [
            ("HGETALL", keys.meta_key()),
            ("HGETALL", keys.shop_now_key()),
            ("HGETALL", keys.registry_key()),
        ]
        change_commands, event_commands = self._changes.commands(), self._events.commands()
        meta, now, registered, *rest = await self._reader.read_many(
            [*first, *change_commands, *event_commands]
        )
        new_changes, changes_emptied = self._changes.apply(rest[: len(change_commands)])
        new_events, events_emptied = self._events.apply(rest[len(change_commands) :])
        registry: Registry = {
            text(sid): parse_json(about) or {}
            for sid, about in sorted(registered.items())[:SEGMENTS_MAX]
        }
        sizes = await self._sizes(registry)
        if now_s - self._slow_read_s >= SLOW_INTERVAL_S or registry.keys() != self._stats.keys():
            self._slow_read_s = now_s
            await self._read_slow(registry, int(numbers(now).get("at", 0)))
        values: dict[str, Any] = {"now": self._now(numbers(meta), numbers(now), now_s)}
        values["now"]["currency"] = text(now.get(b"currency"))
        values |= self._slow
        for sid, about in registry.items():
            values[f"segment/{sid}"] = about | self._stats[sid] | {"id": sid, "size": sizes[sid]}
            values[f"spark/{sid}"] = self._lines.get(sid)
        is_reset, self._needs_reset = self._needs_reset or changes_emptied or events_emptied, False
        return ViewResult(
            values,
            {
                "changes": parse_changes(new_changes),
                "events": parse_events(new_events)[-EVENTS_PER_TICK:],
            },
            self._idle_ms((meta, now), now_s),
            is_reset=is_reset,
        )

    async def _sizes(self, registry: Registry) -> dict[str, int]:
        """Return the size of each segment, counted from its members, so that it is exact."""
        counts = await self._reader.read_many(
            [("ZCARD", keys.members_key(sid)) for sid in registry]
        )
        return dict(zip(registry, counts, strict=True))

    async def _read_slow(self, registry: Registry, at_ms: int) -> None:
        shop: list[ReadCommand] = [
            ("HGETALL", keys.quality_key()),
            ("HGETALL", keys.model_key("blend")),
            ("XREVRANGE", keys.shop_history_key(), "+", "-", "COUNT", SPARK_MINUTES),
            *(("GET", keys.worker_key(n)) for n in range(WORKERS_MAX)),
        ]
        segment_commands: list[ReadCommand] = []
        for sid in registry:
            segment_commands += [
                ("HGETALL", keys.stats_key(sid)),
                ("XREVRANGE", keys.history_key(sid), "+", "-", "COUNT", 1),
            ]
        replies = await self._reader.read_many([*shop, *segment_commands])
        quality, blend, history, *beats = replies[: len(shop)]
        self._slow = {
            "quality": numbers(quality),
            "lists": _list_quality(blend),
            "workers": [_worker(n, beat) for n, beat in enumerate(beats) if beat],
            "minutes": last_hour(
                history_rows((history or [])[::-1], SHOP_FIELDS), SHOP_FIELDS, at_ms
            ),
        }
        stats, newest = replies[len(shop) :: 2], replies[len(shop) + 1 :: 2]
        await self._read_sparks(dict(zip(registry, newest, strict=True)), at_ms)
        self._stats = {sid: numbers(one) for sid, one in zip(registry, stats, strict=True)}

    async def _read_sparks(self, newest: Mapping[str, list[Entry] | None], at_ms: int) -> None:
        entry = {sid: found[0][0] for sid, found in newest.items() if found}
        changed = [sid for sid in entry if self._newest.get(sid) != entry[sid]]
        self._newest = entry
        self._histories = {sid: rows for sid, rows in self._histories.items() if sid in entry}
        replies = await self._reader.read_many(
            ("XREVRANGE", keys.history_key(sid), "+", "-", "COUNT", SPARK_MINUTES + 1)
            for sid in changed
        )
        for sid, found in zip(changed, replies, strict=True):
            self._histories[sid] = history_rows((found or [])[::-1], SPARK_FIELDS)
        if changed or at_ms // MINUTE_MS != self._minute:
            self._minute = at_ms // MINUTE_MS
            self._lines = {sid: spark(rows, at_ms) for sid, rows in self._histories.items()}

    def _now(
        self, meta: Mapping[str, Number], now: Mapping[str, Number], now_s: float
    ) -> dict[str, Number | None]:
        """Return the figures of `ps:1:shop:now`; the counters of the flow fill in absent ones."""
        events_read = meta.get("events", 0)
        self._event_counts.append((now_s, events_read))
        while len(self._event_counts) > 2 and now_s - self._event_counts[0][0] > RATE_WINDOW_S:
            self._event_counts.popleft()
        first_s, first_events = self._event_counts[0]
        elapsed_s = now_s - first_s
        rate = (events_read - first_events) / elapsed_s if elapsed_s >= 1 else None
        opened, closed = meta.get("sessions_opened"), meta.get("sessions_closed", 0)
        counters: dict[str, Number | None] = {
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
        return counters | dict(now)

    def _idle_ms(self, written: object, now_s: float) -> int | None:
        """Return the time since the values of each batch changed; None before the first change."""
        if self._last_write is None:
            self._last_write = (written, float("-inf"))
        elif self._last_write[0] != written:
            self._last_write = (written, now_s)
        changed_s = self._last_write[1]
        return None if changed_s == float("-inf") else round((now_s - changed_s) * 1000)


def last_hour(history: Sequence[Row], fields: Sequence[str], at_ms: int) -> list[Row]:
    """Return the minutes of the hour before `at_ms`, or as many as there are, without the open one."""
    open_ms = at_ms // MINUTE_MS * MINUTE_MS
    return fill_gaps(history, fields, MINUTE_MS, open_ms - SPARK_MINUTES * MINUTE_MS, open_ms)


def spark(history: Sequence[Row], at_ms: int) -> list[float | None] | None:
    """Return sizes of a segment: one hour before `at_ms`, or at its start, then after each minute.

    >>> spark([[0, 5.0, 1.0, 0.0], [60_000, 9.0, 4.0, 0.0]], 180_000)
    [4.0, 5.0, 9.0, 9.0]
    """
    if not history:
        return None
    hour = last_hour(history, SPARK_FIELDS, at_ms)
    earlier = [row for row in history if (row[0] or 0) < (hour[0][0] or 0)]
    _, size, entered, left = history[0]
    first_size = (size or 0) - (entered or 0) + (left or 0)
    return [earlier[-1][1] if earlier else first_size, *(row[1] for row in hour)]


def _list_quality(blend: Mapping[bytes, bytes]) -> dict[str, Any]:
    """Return the metrics of the lists, also for the segments with the most evaluated lists."""
    by_segment = parse_json(blend.get(b"segments")) or {}
    largest = sorted(by_segment.items(), key=lambda one: (-one[1][0], one[0]))[:LISTS_SEGMENTS]
    return numbers(blend) | {"segments": largest}


def _worker(number: int, heartbeat: bytes) -> dict[str, Any]:
    fields = parse_json(heartbeat) or {}
    age_ms = max(0, time.time_ns() // 1_000_000 - int(fields.get("at", 0)))
    shown = {name: fields.get(name) for name in WORKER_FIELDS}
    # Rounded to 5 s: the exact age would be a change at each read.
    return {"n": number, "age_s": age_ms // 5000 * 5, **shown}
