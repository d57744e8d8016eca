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

    from serving.dashboard.document import Reading

_log = logging.getLogger("penstock.page")

TURN_S = 0.25
"""At most four updates a second."""
STILL_S = 1.0
"""So often a tab hears that nothing changed."""
WAITING_MAX = 8
"""Changes that wait for a tab; beyond, a snapshot is shorter."""
TAIL_MAX = 100
STALE_S = 2.0
BROKEN = "The server could not read what is in Redis: its log says why."
MESSAGES_A_STREAM = 7200
"""A stream ends after so many, half an hour at the fastest, and the page opens another."""


class Looks(Protocol):
    """Somebody who reads what a room shows."""

    async def look(self) -> Reading:
        """Read. Raises UserError where Redis does not answer."""


class Room:
    """What tabs look at together, and those tabs."""

    def __init__(self, name: str, looks: Looks, clock: Callable[[], float]) -> None:
        self.name = name
        self.tabs: set[Tab] = set()
        self._looks = looks
        self._document = Document(name, TAIL_MAX)
        self._clock = clock
        self._looked_s = self._told_s = float("-inf")
        self._turn = asyncio.Lock()

    @property
    def is_stale(self) -> bool:
        """Whether nobody has looked for a while."""
        return self._clock() - self._looked_s > STALE_S

    def whole(self) -> bytes:
        """A snapshot."""
        return self._document.whole()

    async def turn(self) -> None:
        """Look, and tell the tabs what changed."""
        async with self._turn:
            now_s = self._clock()
            try:
                reading = await self._looks.look()
                change = self._document.take(reading)
            except UserError as error:
                self._tell(self._document.fail(str(error)), now_s)
                return
            except Exception:
                # One room that is broken must not take the others with it.
                _log.exception("could not read what the page shows of %s", self.name)
                self._tell(self._document.fail(BROKEN), now_s)
                return
            self._looked_s = now_s
            if reading.anew:
                for tab in self.tabs:
                    tab.renew(self)
            elif change is not None:
                self._tell(change, now_s)
            elif now_s - self._told_s >= STILL_S:
                self._tell(self._document.still(), now_s)

    def _tell(self, frame: bytes, now_s: float) -> None:
        self._told_s = now_s
        for tab in self.tabs:
            tab.offer(self, frame)


class Tab:
    """One open page: what waits to be sent to it."""

    def __init__(self) -> None:
        self._waiting: dict[Room, list[bytes] | None] = {}
        self._is_ready = asyncio.Event()
        self._is_over = False

    def offer(self, room: Room, frame: bytes) -> None:
        """Something changed; it is sent with the end of the turn."""
        waiting = self._waiting.setdefault(room, [])
        if waiting is not None:
            waiting.append(frame)
            if len(waiting) > WAITING_MAX:
                self._waiting[room] = None

    def renew(self, room: Room) -> None:
        """It needs a snapshot."""
        self._waiting[room] = None

    def send(self) -> None:
        """Send what waits, of all rooms in one message."""
        if self._waiting:
            self._is_ready.set()

    def end(self) -> None:
        """No more messages."""
        self._is_over = True
        self._is_ready.set()

    async def messages(self) -> AsyncIterator[bytes]:
        """Server-sent events, until the server ends or the stream is old."""
        yield b"retry: 1000\n\n"
        for _ in range(MESSAGES_A_STREAM):
            await self._is_ready.wait()
            if self._is_over:
                return
            self._is_ready.clear()
            waiting, self._waiting = self._waiting, {}
            frames: list[bytes] = []
            for room, changes in waiting.items():
                frames += [room.whole()] if changes is None else changes
            yield b"data: [" + b",".join(frames) + b"]\n\n"


class Hub:
    """All rooms. `main` is read for every tab, the others while somebody is in them."""

    def __init__(self, main: Looks, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._main = Room("shop", main, clock)
        self._rooms: dict[str, Room] = {}
        self._somebody = asyncio.Event()

    @property
    def tabs(self) -> int:
        """How many pages are open."""
        return len(self._main.tabs)

    @asynccontextmanager
    async def tab(
        self, name: str = "", looks: Callable[[], Looks] | None = None
    ) -> AsyncIterator[Tab]:
        """A page that looks at the shop and, where `looks` is given, at a room of its own too."""
        tab = Tab()
        rooms = [self._main]
        if looks is not None:
            if name not in self._rooms:
                self._rooms[name] = Room(name, looks(), self._clock)
            rooms.append(self._rooms[name])
        for room in rooms:
            room.tabs.add(tab)
        try:
            for room in rooms:
                if room.is_stale:
                    await room.turn()
                tab.renew(room)
            tab.send()
            self._somebody.set()
            yield tab
        finally:
            for room in rooms:
                room.tabs.discard(tab)
                if not room.tabs and self._rooms.get(room.name) is room:
                    del self._rooms[room.name]

    async def run(self) -> None:
        """Take turns for ever; without a tab nothing is read."""
        while True:
            began_s = self._clock()
            if not self._main.tabs:
                self._somebody.clear()
                await self._somebody.wait()
            await asyncio.gather(*(room.turn() for room in (self._main, *self._rooms.values())))
            for tab in self._main.tabs:
                tab.send()
            await asyncio.sleep(max(0.0, TURN_S - (self._clock() - began_s)))

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
        for tab in list(self._main.tabs):
            tab.end()
