"""The log behind the collector: what it must do. Redis has one in `redis_log`, Kafka one in `flows`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

RECORD_BYTES_MAX = 990_000
"""Key and value of a record: Kafka takes a million bytes by default, with its own frame around them."""


class LogRecord(NamedTuple):
    """An event for the log: the id whose events must stay in order, and the event as JSON."""

    key: bytes
    value: bytes

    @property
    def byte_count(self) -> int:
        """Bytes of key and value."""
        return len(self.key) + len(self.value)


class LogUnavailableError(Exception):
    """The log does not acknowledge records now."""


class TooLargeError(Exception):
    """The log never takes the records at `indexes`, which are too large for it; it has all others."""

    def __init__(self, indexes: Sequence[int]) -> None:
        super().__init__(f"{len(indexes)} records are too large for the log")
        self.indexes = frozenset(indexes)


class CollectorLog(Protocol):
    """A log that acknowledges what it has stored."""

    async def append(self, records: Sequence[LogRecord]) -> None:
        """Return when all records are stored. Raises TooLargeError.

        Raises LogUnavailableError; some may be stored then.
        """

    async def close(self) -> None:
        """Close the connections."""
