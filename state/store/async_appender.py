"""Appends to streams from a server that takes in many events at once, on an event loop.

Where the server can say so, an append returns when its entries are synchronised to the append-only file
(`WAITAOF`, Redis 7.2). Without such a file, or with `appendfsync no`, what was not on the disk is lost
with the machine. So it is in a cluster: `WAITAOF` has no key, and would reach one node, perhaps not the
one that has the entries.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from state.errors import StoreError
from state.store.async_pipe import AsyncPipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from state.store.async_reader import ReadCommand

ENTRY_FIELD = "e"
"""The one field of an entry of an event stream."""


class AsyncAppender:
    """Appends to the streams of one Redis. For one event loop."""

    def __init__(self, url: str, *, timeout_ms: int) -> None:
        self._url = url
        self._timeout_ms = timeout_ms
        self._free: list[AsyncPipe] = []
        self._pipes: list[AsyncPipe] = []
        self._syncs: bool | None = None

    async def append(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Append values to streams, each with an id of the server.

        Raises StoreError or TimeoutError; some may be stored then.
        """
        # A connection for each append that runs: one that waits for the disk takes no commands.
        with self._free_pipe() as pipe:
            if self._syncs is None:
                self._syncs = await self._syncs_to_disk(pipe)
            commands: list[ReadCommand] = [
                ("XADD", key, "*", ENTRY_FIELD, value) for key, value in entries
            ]
            if self._syncs:
                commands.append(("WAITAOF", 1, 0, self._timeout_ms))
            try:
                replies = await pipe.call(commands)
            except StoreError:
                self._syncs = None  # it may be another server next time, or one that is set up anew
                raise
        if self._syncs and not replies[-1][0]:
            self._syncs = None
            raise StoreError(f"Redis at {pipe.address} has not synchronised its file in time")

    async def close(self) -> None:
        """Close the connections."""
        for pipe in self._pipes:
            await pipe.close()

    @contextmanager
    def _free_pipe(self) -> Iterator[AsyncPipe]:
        """A connection that no other append uses meanwhile; a new one if there is none."""
        if self._free:
            pipe = self._free.pop()
        else:
            pipe = AsyncPipe(
                self._url, timeout_ms=self._timeout_ms, call_timeout_s=self._timeout_ms / 1000
            )
            self._pipes.append(pipe)
        try:
            yield pipe
        finally:
            self._free.append(pipe)

    async def _syncs_to_disk(self, pipe: AsyncPipe) -> bool:
        try:
            await pipe.call([("WAITAOF", 0, 0, 0)])
            (info,) = await pipe.call([("INFO", "persistence")])
        except StoreError as error:
            if "unknown command" in str(error.__cause__).lower():
                return False
            raise
        if pipe.is_cluster or b"aof_enabled:1" not in info:
            return False
        with suppress(StoreError):  # who may not ask is answered by WAITAOF itself
            (setting,) = await pipe.call([("CONFIG", "GET", "appendfsync")])
            return b"no" not in (setting.values() if isinstance(setting, dict) else setting)
        return True
