"""The event streams in Redis as a live source."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flows.sources.live_source import LiveSource
from flows.sources.streams.connection import TOPIC, StreamsConnection
from state.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event as Flag

    from state.config import Settings
    from state.store import Store


class StreamsSource(LiveSource):
    """The streams that the collector writes, for one worker. `connect` opens their Redis."""

    log_name = "streams"

    def __init__(
        self,
        settings: Settings,
        stop: Flag,
        connect: Callable[[], Store],
        *,
        is_reader: bool = True,
    ) -> None:
        super().__init__(settings, stop, is_reader=is_reader)
        self._connect_store = connect

    def open_connection(self) -> StreamsConnection:
        """Connect to Redis. Raises UserError, also where the folder is of another log."""
        others = [name for name in self.known_partitions if not name.endswith(f"-{TOPIC}")]
        if others:
            raise SourceError(self.missing_text(others))
        return StreamsConnection(self.settings, self._connect_store, self.known_partitions)

    def missing_text(self, missing: list[str]) -> str:
        """What to say where the recovery folder has partitions of another log."""
        return (
            f"the recovery folder has partitions of another log: {', '.join(missing)}: run it with "
            "--source kafka, or start with an empty recovery folder"
        )

    def commit_final_offsets(self) -> None:
        """Nothing to tell Redis: the offsets are in the snapshots."""
