"""The log behind the collector: what it must do. Redis has one in `redis_log`, Kafka one in `flows`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


class LogRecord(NamedTuple):
    """An event for the log: the id whose events must stay in order, and the event as JSON."""

    key: bytes
    value: bytes


class LogUnavailableError(Exception):
    """The log does not acknowledge records now."""


class CollectorLog(Protocol):
    """A log that acknowledges what it has stored."""

    async def append(self, records: Sequence[LogRecord]) -> None:
        """Return when all records are stored. Raises LogUnavailableError; some may be stored then."""

    async def close(self) -> None:
        """Close the connections."""
