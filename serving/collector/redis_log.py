"""Redis Streams as the log of the collector: one stream a partition, by the id of the shopper."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from serving.collector.event_log import LogUnavailableError
from state import keys
from state.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.collector.event_log import LogRecord
    from state.store import AsyncAppender


class RedisEventLog:
    """Appends events to `ps:1:events:{n}`, n by the CRC-32 of the key."""

    def __init__(self, appender: AsyncAppender, partitions: int) -> None:
        self._appender = appender
        self._partitions = partitions

    async def append(self, records: Sequence[LogRecord]) -> None:
        """Append records. Raises LogUnavailableError."""
        entries = [
            (keys.events_key(zlib.crc32(record.key) % self._partitions), record.value)
            for record in records
        ]
        try:
            await self._appender.append(entries)
        except (TimeoutError, StoreError) as error:
            raise LogUnavailableError(str(error) or "Redis is too slow") from error

    async def close(self) -> None:
        """Close the connections."""
        await self._appender.close()
