"""The visitors of the demo: synthetic events, each appended when it is due, as a collector would.

The shop has a past: what was due before the demo began goes into the log at once.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from flows.process.background import BackgroundThread
from operators.synthetic.traffic import Past, generate_events
from serving.collector.event_log import LogRecord, LogUnavailableError
from serving.shop.catalogue import ITEMS, with_addresses

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from serving.collector.event_log import CollectorLog
    from state.events import Event

SHOPPERS = 20_000
EVENTS_PER_S = 10
PAST_DAYS = 14
RECENT_SHARE = 0.6
"""Of the events of the past, those just before the demo, at its rate: by default an hour of them."""
TICK_S = 0.25
"""Events that are due go into the log so often: a batch costs the flow the same for one as for some."""
PART_EVENTS = 500
RETRY_S = 0.5
_DAY_MS = 86_400_000


def shop_events(past_events: int, now_ms: int) -> Iterator[Event]:
    """The events of the shop by the time of their arrival, about `past_events` before `now_ms`."""
    recent_ms = round(1000 * RECENT_SHARE * past_events / EVENTS_PER_S)
    past_per_s = past_events * (1 - RECENT_SHARE) / (PAST_DAYS * _DAY_MS / 1000)
    events = generate_events(
        shoppers=SHOPPERS,
        items=ITEMS,
        start_ms=now_ms - PAST_DAYS * _DAY_MS,
        events_per_s=EVENTS_PER_S,
        past=Past(now_ms - recent_ms, past_per_s),
    )
    for event in events:
        if event.type == "item":
            event = replace(event, items=tuple(map(with_addresses, event.items)))
        yield event


class ShopTraffic:
    """Appends the events to the log, from a thread, inside the block."""

    def __init__(self, log: CollectorLog, past_events: int) -> None:
        self._log = log
        self._past_events = past_events
        self._thread = BackgroundThread("visitors", lambda stop: asyncio.run(self._run(stop)))
        self.sent = 0
        """Events in the log."""
        self.is_live = False
        """Whether the past is in the log."""

    def __enter__(self) -> ShopTraffic:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Let no more visitors come."""
        self._thread.stop()

    def check(self) -> None:
        """Raise ThreadEndedError where the visitors have ended by themselves."""
        self._thread.check()

    async def _run(self, stop: threading.Event) -> None:
        now_ms = _clock_ms()
        due: list[Event] = []
        for event in shop_events(self._past_events, now_ms):
            if event.received_ts > now_ms or len(due) == PART_EVENTS:
                await self._append(due, stop)
                due = []
                self.is_live = self.is_live or event.received_ts > now_ms
            while event.received_ts > now_ms and not stop.is_set():
                await asyncio.sleep(TICK_S)
                now_ms = _clock_ms()
            if stop.is_set():
                break
            due.append(event)
        await self._log.close()

    async def _append(self, events: list[Event], stop: threading.Event) -> None:
        """Append events; while the log is away, again and again. The flow counts a repeat once."""
        records = [
            LogRecord((event.anonymous_id or "").encode(), msgspec.json.encode(event))
            for event in events
        ]
        while records and not stop.is_set():
            try:
                await self._log.append(records)
            except LogUnavailableError:
                await asyncio.sleep(RETRY_S)
            else:
                self.sent += len(records)
                return


def _clock_ms() -> int:
    return time.time_ns() // 1_000_000
