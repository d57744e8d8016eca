"""One reader for all tabs: rooms are read in turns, and what changed goes to whoever looks at them.

A tab gets a snapshot, then changes, at most one message a turn. A tab that does not take them in time
holds up nobody: what waits for it is dropped, and it gets a snapshot when it goes on.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Protocol

from serving.dashboard.document import Document
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from serving.dashboard.document import ViewResult

_log = logging.getLogger("penstock.page")

TICK_S = 0.25
"""At most four updates a second."""
KEEPALIVE_S = 1.0
"""So often a tab hears that nothing changed."""
QUEUED_MAX = 8
"""Changes that wait for a tab; beyond, a snapshot is shorter."""
TAIL_MAX = 100
STALE_S = 2.0
READ_FAILED = "The server could not read what is in Redis: its log says why."
MESSAGES_PER_STREAM = 7200
"""A stream ends after so many, half an hour at the fastest, and the page opens another."""


class ViewReader(Protocol):
    """Somebody who reads what a room shows."""

    async def read(self) -> ViewResult:
        """Read. Raises UserError where Redis does not answer."""


class Channel:
    """What tabs look at together, and those tabs."""

    def __init__(self, name: str, view: ViewReader, clock: Callable[[], float]) -> None:
        self.name = name
        self.subscribers: set[Subscriber] = set()
        self._view = view
        self._document = Document(name, TAIL_MAX)
        self._clock = clock
        self._read_s = self._sent_s = float("-inf")
        self._lock = asyncio.Lock()

    @property
    def is_stale(self) -> bool:
        """Whether nobody has looked for a while."""
        return self._clock() - self._read_s > STALE_S

    def snapshot(self) -> bytes:
        """A snapshot."""
        return self._document.snapshot()

    async def tick(self) -> None:
        """Look, and tell the tabs what changed."""
        async with self._lock:
            now_s = self._clock()
            try:
                result = await self._view.read()
                change = self._document.update(result)
            except UserError as error:
                self._broadcast(self._document.set_error(str(error)), now_s)
                return
            except Exception:
                # One room that is broken must not take the others with it.
                _log.exception("could not read what the page shows of %s", self.name)
                self._broadcast(self._document.set_error(READ_FAILED), now_s)
                return
            self._read_s = now_s
            if result.is_reset:
                for subscriber in self.subscribers:
                    subscriber.resync(self)
            elif change is not None:
                self._broadcast(change, now_s)
            elif now_s - self._sent_s >= KEEPALIVE_S:
                self._broadcast(self._document.keepalive(), now_s)

    def _broadcast(self, frame: bytes, now_s: float) -> None:
        self._sent_s = now_s
        for subscriber in self.subscribers:
            subscriber.enqueue(self, frame)


class Subscriber:
    """One open page: what waits to be sent to it."""

    def __init__(self) -> None:
        self._queued: dict[Channel, list[bytes] | None] = {}
        self._is_ready = asyncio.Event()
        self._is_ended = False

    def enqueue(self, channel: Channel, frame: bytes) -> None:
        """Something changed; it is sent with the end of the turn."""
        queued = self._queued.setdefault(channel, [])
        if queued is not None:
            queued.append(frame)
            if len(queued) > QUEUED_MAX:
                self._queued[channel] = None

    def resync(self, channel: Channel) -> None:
        """It needs a snapshot."""
        self._queued[channel] = None

    def send(self) -> None:
        """Send what waits, of all rooms in one message."""
        if self._queued:
            self._is_ready.set()

    def end(self) -> None:
        """No more messages."""
        self._is_ended = True
        self._is_ready.set()

    async def messages(self) -> AsyncIterator[bytes]:
        """Server-sent events, until the server ends or the stream is old."""
        yield b"retry: 1000\n\n"
        for _ in range(MESSAGES_PER_STREAM):
            await self._is_ready.wait()
            if self._is_ended:
                return
            self._is_ready.clear()
            queued, self._queued = self._queued, {}
            frames: list[bytes] = []
            for channel, changes in queued.items():
                frames += [channel.snapshot()] if changes is None else changes
            yield b"data: [" + b",".join(frames) + b"]\n\n"


class PageHub:
    """All rooms. `main` is read for every tab, the others while somebody is in them."""

    def __init__(self, main: ViewReader, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shop = Channel("shop", main, clock)
        self._channels: dict[str, Channel] = {}
        self._has_subscribers = asyncio.Event()

    @property
    def tabs(self) -> int:
        """How many pages are open."""
        return len(self._shop.subscribers)

    @asynccontextmanager
    async def subscribe(
        self, name: str = "", create_view: Callable[[], ViewReader] | None = None
    ) -> AsyncIterator[Subscriber]:
        """A page that looks at the shop and, where `looks` is given, at a room of its own too."""
        subscriber = Subscriber()
        channels = [self._shop]
        if create_view is not None:
            if name not in self._channels:
                self._channels[name] = Channel(name, create_view(), self._clock)
            channels.append(self._channels[name])
        for channel in channels:
            channel.subscribers.add(subscriber)
        try:
            for channel in channels:
                if channel.is_stale:
                    await channel.tick()
                subscriber.resync(channel)
            subscriber.send()
            self._has_subscribers.set()
            yield subscriber
        finally:
            for channel in channels:
                channel.subscribers.discard(subscriber)
                if not channel.subscribers and self._channels.get(channel.name) is channel:
                    del self._channels[channel.name]

    async def run(self) -> None:
        """Take turns for ever; without a tab nothing is read."""
        while True:
            started_s = self._clock()
            if not self._shop.subscribers:
                self._has_subscribers.clear()
                await self._has_subscribers.wait()
            await asyncio.gather(
                *(channel.tick() for channel in (self._shop, *self._channels.values()))
            )
            for subscriber in self._shop.subscribers:
                subscriber.send()
            await asyncio.sleep(max(0.0, TICK_S - (self._clock() - started_s)))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take turns while inside; then every stream ends."""
        task = asyncio.create_task(self.run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def end(self) -> None:
        """End every stream."""
        for subscriber in list(self._shop.subscribers):
            subscriber.end()
