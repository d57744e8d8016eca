"""A live log as a Bytewax source: a partition of the log is a source partition.

The snapshot has the offset of the next record, so the flow resumes exactly where it stopped; it
ignores what the log knows of a reader.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from bytewax.inputs import FixedPartitionedSource

from flows.sources.live_connection import partition_name
from flows.sources.live_partition import LivePartition
from operators.events.currencies import CurrencyConverter
from state.errors import SourceError
from state.messages import SourceBatch
from state.snapshots import SOURCE_CODEC, SourceState

if TYPE_CHECKING:
    from collections.abc import Collection
    from threading import Event as Flag

    from kafka import TopicPartition

    from flows.sources.live_connection import LogConnection
    from state.config import Settings


class LiveSource(FixedPartitionedSource[SourceBatch, bytes]):
    """A log, for one worker. When `stop` is set, every partition ends between two batches.

    With `is_reader=False` the process lists no partitions: other processes read them.
    `known_partitions` are the names of the partitions in the recovery store; set it before the
    partitions are listed. `snapshot_offsets` are the offsets in the last snapshots, `next_offsets`
    those of the next records.
    """

    log_name: ClassVar[str]
    """The name of the log in health checks."""

    def __init__(
        self,
        settings: Settings,
        stop: Flag,
        *,
        is_reader: bool = True,
        known_partitions: Collection[str] = (),
    ) -> None:
        self.settings = settings
        self.converter = CurrencyConverter(settings.money)
        self.known_partitions = known_partitions
        self.next_offsets: dict[TopicPartition, int] = {}
        self.snapshot_offsets: dict[TopicPartition, int] = {}
        self._stop = stop
        self._is_reader = is_reader
        self._connection: LogConnection | None = None
        self._by_name: dict[str, TopicPartition] = {}
        self._open_partitions: set[TopicPartition] = set()
        self._is_stop_requested = False

    def request_stop(self) -> None:
        """End every partition between two batches, so that the run starts again. For any thread."""
        self._is_stop_requested = True

    @property
    def is_stopping(self) -> bool:
        """Whether to stop now: on request, or because the log has new partitions."""
        return self._stop.is_set() or self._is_stop_requested or self.has_more_partitions

    @property
    def has_more_partitions(self) -> bool:
        """Whether the log has new partitions since the connection was made."""
        return self._connection is not None and self._connection.monitor.has_more_partitions

    @property
    def is_reachable(self) -> bool:
        """Whether the log answered the last check, which happens every second."""
        return self._connection is None or self._connection.monitor.is_reachable

    @property
    def lag(self) -> dict[str, int]:
        """The number of unread records by partition name."""
        if self._connection is None:
            return {}
        monitor = self._connection.monitor
        lags = {one: monitor.lag(one, offset) for one, offset in self.next_offsets.items()}
        return {partition_name(one): lag for one, lag in lags.items() if lag is not None}

    def list_parts(self) -> list[str]:
        """The names of the partitions.

        Raises UserError where the log does not answer, or has lost partitions.
        """
        if not self._is_reader:
            return []
        by_name = {partition_name(partition): partition for partition in self._connect().partitions}
        self._by_name = by_name
        if missing := sorted(set(self.known_partitions).difference(by_name)):
            self.close()
            raise SourceError(self.missing_text(missing))
        return list(by_name)

    def build_part(self, step_id: str, for_part: str, resume_state: bytes | None) -> LivePartition:
        """One partition, from the offset in its snapshot, else from where its log says."""
        connection = self._connect()
        partition = self._by_name[for_part]
        if resume_state is None:
            state = SourceState(offset=connection.first_offset(partition))
        else:
            state = SOURCE_CODEC.decode(resume_state)
        state.offset = connection.resume_offset(partition, state)
        state.topic_id = connection.topic_id
        self.next_offsets[partition] = state.offset
        self._open_partitions.add(partition)
        return LivePartition(self, connection, partition, state)

    def _connect(self) -> LogConnection:
        if self._connection is None or not self._connection.is_open:
            self._connection = self.open_connection()
        return self._connection

    @abstractmethod
    def open_connection(self) -> LogConnection:
        """Connect to the log. Raises UserError where it does not answer."""

    @abstractmethod
    def missing_text(self, missing: list[str]) -> str:
        """What to say where the log lacks partitions that the recovery folder has."""

    @abstractmethod
    def commit_final_offsets(self) -> None:
        """Tell the log the offsets of the last snapshots, after a clean end of the flow."""

    def on_partition_closed(self, partition: TopicPartition) -> None:
        """Note that a partition has ended, and close the connection after the last one."""
        self._open_partitions.discard(partition)
        if not self._open_partitions:
            self.close()

    def close(self) -> None:
        """Close the connections to the log."""
        if self._connection is not None:
            self._connection.close()
