"""One connection of an event loop on which many callers send at once, and replies come in order.

redis-py opens the connection, secures it and logs in; the rest is our own, because redis-py takes a
connection for each caller and some ten microseconds for each reply, and this one of either.
In a cluster, where commands go to several nodes, redis-py does all of it.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

import redis.asyncio as aio
from hiredis import HiredisError, PushNotification, Reader, ReplyError

from state.store import error_messages
from state.store.async_reader import AsyncReader
from state.store.connection import pack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.errors import StoreError
    from state.store.async_reader import ReadCommand

_GONE_CODES = ("READONLY", "MASTERDOWN", "NOAUTH")
"""Replies after which another connection may lead to the right server."""


class _Waiting(NamedTuple):
    """A caller: how many replies it gets, since when it waits, and who has them then."""

    reply_count: int
    since_s: float
    replies: asyncio.Future[list[Any]]


class _Link(asyncio.Protocol):
    """The open connection. Replies of callers that have given up are read and dropped."""

    def __init__(self, client: aio.Redis, connection: Any, timeout_s: float) -> None:
        self._client = client
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._connection = connection
        self._reader = Reader()
        self._waiting: deque[_Waiting] = deque()
        self._outgoing: list[bytes] = []
        self._read: list[Any] = []
        self.is_open = True
        self._transport: Any = connection._writer.transport
        self._first_protocol = self._transport.get_protocol()
        self._transport.set_protocol(self)

    def call(self, packed: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send commands; the future gets their replies, errors among them, or TimeoutError.

        Raises ConnectionError where the connection has ended meanwhile.
        """
        if not self.is_open:
            raise ConnectionError("the server closed the connection")
        replies = self._loop.create_future()
        self._waiting.append(_Waiting(count, time.monotonic(), replies))
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._expire)
        if not self._outgoing:
            self._loop.call_soon(self._flush)
        self._outgoing.append(packed)
        return replies

    def _flush(self) -> None:
        """Send what all callers of this turn of the loop have asked: a write wakes up the server."""
        outgoing, self._outgoing = self._outgoing, []
        if self.is_open:
            self._transport.write(b"".join(outgoing))

    def _expire(self) -> None:
        """One timer for all: those who wait too long give up; the next in line has the timer then."""
        self._timer = None
        oldest_s = time.monotonic() - self._timeout_s
        for one in self._waiting:
            if one.since_s > oldest_s:
                wait_s = one.since_s - oldest_s
                self._timer = self._loop.call_later(wait_s, self._expire)
                break
            if not one.replies.done():
                one.replies.set_exception(TimeoutError())

    @property
    def waits_since_s(self) -> float:
        """Since when the oldest caller waits (monotonic); infinity for nobody."""
        return self._waiting[0].since_s if self._waiting else float("inf")

    def data_received(self, data: bytes) -> None:
        """Give each caller its replies."""
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not False:
                if isinstance(reply, PushNotification):
                    continue
                self._read.append(reply)
                if self._waiting and len(self._read) == self._waiting[0].reply_count:
                    found, self._read = self._read, []
                    caller = self._waiting.popleft().replies
                    if not caller.done():
                        caller.set_result(found)
        except HiredisError as error:
            self.end(error)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell those who wait, and redis-py."""
        self._first_protocol.connection_lost(exc)
        self.end(exc or ConnectionError("the server closed the connection"))

    def end(self, error: Exception) -> None:
        """Close the connection; those who wait get the error."""
        if not self.is_open:
            return
        self.is_open = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._transport.abort()
        waiting, self._waiting = self._waiting, deque()
        for one in waiting:
            if not one.replies.done():
                one.replies.set_exception(error)

    async def close(self) -> None:
        """Close everything."""
        self.end(ConnectionError("closed"))
        await self._client.aclose()


class AsyncPipe:
    """Sends commands to Redis; connects when it is needed. For one event loop.

    A caller waits for `call_timeout_s`. The connection is given up when it has been silent for
    `timeout_ms`: a server that was paused answers what it was asked before.
    """

    def __init__(self, url: str, *, timeout_ms: int, call_timeout_s: float) -> None:
        self._reader = AsyncReader(url, timeout_ms=timeout_ms)
        self._timeout_s = timeout_ms / 1000
        self._call_timeout_s = call_timeout_s
        self._link: _Link | None = None
        self._opening: asyncio.Task[_Link | None] | None = None
        self._is_cluster = False
        self.address = self._reader.address

    async def call(self, commands: Sequence[ReadCommand]) -> list[Any]:
        """Return the replies as they are, in one round trip. Raises StoreError or TimeoutError."""
        timeout_s = self._call_timeout_s
        try:
            link = self._link
            if link is None or not link.is_open:
                link = await asyncio.wait_for(asyncio.shield(self._opened()), timeout_s)
            if link is None:
                return await asyncio.wait_for(self._reader.read_many(commands), timeout_s)
            if time.monotonic() - link.waits_since_s > self._timeout_s:
                link.end(TimeoutError("the server does not answer"))
                raise TimeoutError
            replies = await link.call(b"".join(map(pack, commands)), len(commands))
        except error_messages.RETRYABLE_ERRORS as error:
            if isinstance(error, TimeoutError):
                raise
            raise self._failure(error, commands[0]) from error
        for reply, command in zip(replies, commands, strict=True):
            if isinstance(reply, ReplyError):
                if str(reply).partition(" ")[0] in _GONE_CODES:
                    link.end(reply)
                raise self._failure(reply, command) from reply
        return replies

    @property
    def is_cluster(self) -> bool:
        """Whether commands go to several nodes. Known after the first call."""
        return self._is_cluster

    async def close(self) -> None:
        """Close the connections; the next call connects again."""
        if self._opening is not None:
            self._opening.cancel()
        link, self._link = self._link, None
        if link is not None:
            await link.close()
        await self._reader.close()

    def _opened(self) -> asyncio.Task[_Link | None]:
        """The one attempt to connect that runs now; it goes on when a caller gives up."""
        if self._opening is None:
            self._opening = asyncio.create_task(self._open())
            self._opening.add_done_callback(self._end_opening)
        return self._opening

    def _end_opening(self, opening: asyncio.Task[_Link | None]) -> None:
        self._opening = None
        if not opening.cancelled():
            opening.exception()  # whoever still waits has it; else nobody asks

    async def _open(self) -> _Link | None:
        if self._is_cluster:
            return None
        if self._link is not None:
            await self._link.close()
        client = await self._reader.open_client()
        if isinstance(client, aio.RedisCluster):
            self._is_cluster = True
            await client.aclose()
            return None
        try:
            connection = await client.connection_pool.get_connection()
        except BaseException:
            await client.aclose()
            raise
        self._link = _Link(client, connection, self._call_timeout_s)
        return self._link

    def _failure(self, error: Exception, command: ReadCommand) -> StoreError:
        return error_messages.store_error(self.address, error, str(command[1]), str(command[0]))
