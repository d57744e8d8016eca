"""Appends entries to streams, for a server that answers many requests at once.

An entry counts when Redis has it, and on disk where the server can say so (WAITAOF of Redis 7.2 and
later, with an append-only file). An append that fails may have stored some of its entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from state.errors import StoreError
from state.store.async_reader import AsyncReader

if TYPE_CHECKING:
    from collections.abc import Sequence

ENTRY_FIELD = "e"
"""The one field of an entry of an event stream."""


class AsyncAppender:
    """Appends to the streams of one Redis. For one event loop."""

    def __init__(self, url: str, *, timeout_ms: int) -> None:
        self._client = AsyncReader(url, timeout_ms=timeout_ms)
        self._timeout_ms = timeout_ms
        self._syncs: bool | None = None

    async def append(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Append values to streams, each with an id of the server. Raises StoreError."""
        if self._syncs is None:
            self._syncs = await self.syncs_to_disk()
        commands: list[tuple[str | bytes | int | float, ...]] = [
            ("XADD", key, "*", ENTRY_FIELD, value) for key, value in entries
        ]
        if self._syncs:
            # In the same pipeline, hence on the same connection: it waits for the writes before it.
            commands.append(("WAITAOF", 1, 0, self._timeout_ms))
        replies = await self._client.read_many(commands)
        if self._syncs and not replies[-1][0]:
            raise StoreError(
                f"Redis at {self._client.address} has not synchronised its file in time"
            )

    async def syncs_to_disk(self) -> bool:
        """Whether the server has an append-only file and can say when an entry is in it."""
        try:
            await self._client.read_one("WAITAOF", 0, 0, 0)
            info: Any = await self._client.read_one("INFO", "persistence")
        except StoreError as error:
            if "unknown command" in str(error.__cause__).lower():
                return False
            raise
        text = info if isinstance(info, dict) else info.decode()
        return "aof_enabled:1" in text if isinstance(text, str) else bool(text["aof_enabled"])

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()
