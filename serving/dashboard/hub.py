"""One reader for all tabs: each tick reads every open channel and sends the changes to its subscribers.

A subscriber gets a snapshot, then changes, at most one message a tick. A slow subscriber delays no
other: its queue is dropped, and it gets a snapshot when it continues.
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
"""Seconds without a change after which a keepalive is sent."""
QUEUED_MAX = 8
"""Changes queued for a subscriber; with more of them a snapshot is shorter."""
TAIL_MAX = 100
STALE_S = 2.0
READ_FAILED = "The server could not read what is in Redis: its log says why."
MESSAGES_PER_STREAM = 7200
"""A stream ends after so many messages, at least half an hour, and the page opens another."""


class ViewReader(Protocol):
    """Reads the content of one channel."""

    async def read(self) -> ViewResult:
        """Read. Raises StoreError if Redis does not answer."""


class Channel:
    """Content that several tabs show, and those tabs."""

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
        """Whether the content has not been read for a while."""
        return self._clock() - self._read_s > STALE_S

    def snapshot(self) -> bytes:
        """Return a message with the whole content."""
        return self._document.snapshot()

    async def tick(self) -> None:
        """Read, and send the changes to the subscribers."""
        async with self._lock:
            now_s = self._clock()
            try:
                result = await self._view.read()
                change = self._document.update(result)
            except UserError as error:
                self._broadcast(self._document.set_error(str(error)), now_s)
                return
            except Exception:
                # An error in one channel must not end the others.
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
    """One open tab, with the messages that are queued for it."""

    def __init__(self) -> None:
        self._queued: dict[Channel, list[bytes] | None] = {}
        self._is_ready = asyncio.Event()
        self._is_ended = False

    def enqueue(self, channel: Channel, frame: bytes) -> None:
        """Queue a change; `send` sends it at the end of the tick."""
        queued = self._queued.setdefault(channel, [])
        if queued is not None:
            queued.append(frame)
            if len(queued) > QUEUED_MAX:
                self._queued[channel] = None

    def resync(self, channel: Channel) -> None:
        """Replace the queue of a channel by a snapshot."""
        self._queued[channel] = None

    def send(self) -> None:
        """Send the queue of all channels as one message."""
        if self._queued:
            self._is_ready.set()

    def end(self) -> None:
        """End the stream."""
        self._is_ended = True
        self._is_ready.set()

    async def messages(self) -> AsyncIterator[bytes]:
        """Yield server-sent events until the server ends or the stream is old."""
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
    """All channels.

    Every tab subscribes to the shop; a further channel exists while it has subscribers.
    """

    def __init__(self, main: ViewReader, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._shop = Channel("shop", main, clock)
        self._channels: dict[str, Channel] = {}
        self._has_subscribers = asyncio.Event()

    @asynccontextmanager
    async def subscribe(
        self, name: str = "", create_view: Callable[[], ViewReader] | None = None
    ) -> AsyncIterator[Subscriber]:
        """Subscribe a tab to the shop and, with `create_view`, to the channel `name`."""
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
        """Run ticks forever; nothing is read while there are no subscribers."""
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
        """Run ticks inside the block."""
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
