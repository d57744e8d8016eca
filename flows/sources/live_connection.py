"""What a live source needs of the log that it reads: a consumer, a monitor, the offsets at its start.

Kafka and Redis Streams each have a connection; sources and partitions are the same for both. A partition
is Kafka's pair of topic and number, a record what Kafka's client gives of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kafka import TopicPartition

    from state.snapshots import SourceState

IDLE_POLL_MS = 5
"""The pause after a poll without records: a poll costs a tenth of a millisecond."""
CHECK_INTERVAL_S = 1.0
"""How often a monitor asks whether the log answers, and where its partitions end."""
RESPONSE_TIMEOUT_MS = 3000
"""How long a monitor waits for the answer."""


class LiveRecord(Protocol):
    """A record of a log. `timestamp` is when the log received it (ms)."""

    @property
    def offset(self) -> int:
        """Its number in its partition; numbers grow."""

    @property
    def timestamp(self) -> int:
        """When the log received it (ms)."""

    @property
    def value(self) -> bytes | None:
        """Its content; None for a tombstone."""


class LogConsumer(Protocol):
    """Gives the records of several partitions, each in order."""

    def assign(self, partition: TopicPartition, offset: int) -> None:
        """Read one more partition, starting with the record at `offset`."""

    def take_records(self, partition: TopicPartition) -> Sequence[LiveRecord]:
        """The next records of a partition, at most a batch."""


class LogMonitor(Protocol):
    """Knows whether the log answers, and where its partitions end."""

    @property
    def is_reachable(self) -> bool:
        """Whether the log answered the last check."""

    @property
    def has_more_partitions(self) -> bool:
        """Whether the log has new partitions."""

    @property
    def ends(self) -> Mapping[TopicPartition, tuple[int, float]]:
        """The offset of the next record of each partition, and when that was checked (monotonic s)."""

    def add(self, partition: TopicPartition) -> None:
        """Monitor one more partition."""

    def schedule_commit(self, partition: TopicPartition, offset: int) -> None:
        """Say soon that all records before an offset are in a snapshot; returns at once."""

    def lag(self, partition: TopicPartition, offset: int) -> int | None:
        """The number of records from an offset on; None if it is not known."""


class LogConnection(Protocol):
    """An open connection of a process to its log.

    `record_format` is the format of the records, `idle_ms` after how long an empty partition no longer
    holds the watermark back.
    """

    record_format: str
    idle_ms: int
    topic_id: str

    @property
    def is_open(self) -> bool:
        """Whether it was not closed yet."""

    @property
    def partitions(self) -> Sequence[TopicPartition]:
        """The partitions when the connection was made, by number."""

    @property
    def consumer(self) -> LogConsumer:
        """Gives the records."""

    @property
    def monitor(self) -> LogMonitor:
        """Knows whether the log answers."""

    def first_offset(self, partition: TopicPartition) -> int:
        """The offset at which a partition without a snapshot starts."""

    def resume_offset(self, partition: TopicPartition, state: SourceState) -> int:
        """The offset at which to resume. Raises UserError if the next record no longer exists."""

    def close(self) -> None:
        """Close the connection. The monitor keeps its last results."""


def partition_name(partition: TopicPartition) -> str:
    """The stored name of a partition.

    >>> from kafka import TopicPartition
    >>> partition_name(TopicPartition("shop-events", 3))
    '3-shop-events'
    """
    return f"{partition.partition}-{partition.topic}"
