"""A thread that monitors the log of a live run: whether it answers, and where its partitions end.

A subclass asks its log, and does what is due with the offsets that are in a snapshot.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from flows.sources.live_connection import CHECK_INTERVAL_S, RESPONSE_TIMEOUT_MS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from logging import Logger
    from typing import Any

    from kafka import TopicPartition


class LiveMonitor(ABC):
    """Monitors some partitions of a log.

    `is_reachable`: the log answered the last check. `ends`: where partitions end, and when that was
    checked (`time.monotonic`). `has_more_partitions`: the log has new partitions.
    """

    def __init__(self, thread_name: str, log: Logger) -> None:
        self.is_reachable = True
        self.has_more_partitions = False
        self.ends: dict[TopicPartition, tuple[int, float]] = {}
        self._partitions: list[TopicPartition] = []
        self._scheduled: dict[TopicPartition, int] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=thread_name, daemon=True)
        self._log = log

    def add(self, partition: TopicPartition) -> None:
        """Monitor one more partition."""
        self._partitions = [*self._partitions, partition]
        if not self._thread.is_alive():
            self._thread.start()

    def schedule_commit(self, partition: TopicPartition, offset: int) -> None:
        """Say that all records before an offset are in a snapshot; returns at once."""
        with self._lock:
            self._scheduled[partition] = offset

    @abstractmethod
    def lag(self, partition: TopicPartition, offset: int) -> int | None:
        """The number of records from an offset on; None before the first check."""

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * RESPONSE_TIMEOUT_MS / 1000)

    @abstractmethod
    def _connected(self) -> AbstractContextManager[Any]:
        """The client of the thread, as long as it runs."""

    @abstractmethod
    def _check(self, client: Any) -> None:
        """Ask where partitions end; then do what is due with scheduled offsets. Raises nothing."""

    def _run(self) -> None:
        with self._connected() as client:
            while not self._stop.wait(CHECK_INTERVAL_S):
                self._check(client)

    def _on_response(self, message: str) -> None:
        """The log has answered; `message` is logged if it had not before."""
        if not self.is_reachable:
            self.is_reachable = True
            self._log.warning(message)

    def _on_silence(self, message: str) -> None:
        """The log has not answered; `message` is logged if it had before."""
        if self.is_reachable:
            self.is_reachable = False
            self._log.warning(message)
