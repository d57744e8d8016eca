"""A thread that monitors the broker: whether it answers, where partitions end, if there are more.

It also commits the group's offsets. These calls must not block the worker, and a consumer is not
safe for two threads, so the thread has its own consumer.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.structs import OffsetAndMetadata

from flows.kafka.client import create_consumer
from flows.sources.live_connection import CHECK_INTERVAL_S, RESPONSE_TIMEOUT_MS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafka import KafkaConsumer, TopicPartition

    from state.config_deployment import Kafka

_log = logging.getLogger("penstock.kafka")


class BrokerMonitor:
    """Monitors some partitions of the topic, which has `partitions_known` in total.

    `is_reachable`: the broker answered the last check. `ends`: where partitions end, and when that was
    checked (`time.monotonic`). `has_more_partitions`: the topic has new partitions.
    """

    def __init__(self, kafka: Kafka, partitions_known: int) -> None:
        self.is_reachable = True
        self.ends: dict[TopicPartition, tuple[int, float]] = {}
        self.has_more_partitions = False
        self._kafka = kafka
        self._partitions_known = partitions_known
        self._partitions: list[TopicPartition] = []
        self._scheduled: dict[TopicPartition, int] = {}
        self._logged_refusal = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka-watch", daemon=True)

    def add(self, partition: TopicPartition) -> None:
        """Monitor one more partition."""
        self._partitions = [*self._partitions, partition]
        if not self._thread.is_alive():
            self._thread.start()

    def schedule_commit(self, partition: TopicPartition, offset: int) -> None:
        """Commit an offset to the group soon; returns at once."""
        with self._lock:
            self._scheduled[partition] = offset

    def lag(self, partition: TopicPartition, offset: int) -> int | None:
        """The number of records from an offset on; None before the first check."""
        end = self.ends.get(partition)
        return None if end is None else max(0, end[0] - offset)

    def close(self) -> None:
        """Stop the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * RESPONSE_TIMEOUT_MS / 1000)

    def _run(self) -> None:
        client = create_consumer(self._kafka, group_id=self._kafka.group)
        refresh_at_s = time.monotonic() + self._kafka.refresh_s
        try:
            while not self._stop.wait(CHECK_INTERVAL_S):
                try:
                    asked_s = time.monotonic()
                    ends = client.end_offsets(self._partitions, timeout_ms=RESPONSE_TIMEOUT_MS)
                    self.ends = {partition: (end, asked_s) for partition, end in ends.items()}
                    self._on_response()
                    if asked_s >= refresh_at_s:
                        refresh_at_s = asked_s + self._kafka.refresh_s
                        client.topics()
                        self._check_new_partitions(
                            len(client.partitions_for_topic(self._kafka.topic))
                        )
                    self._commit(client)
                except KafkaTimeoutError:
                    self._on_timeout()
                except KafkaError as error:
                    self._log_refusal(f"{type(error).__name__}: {error}")
        finally:
            client.close(timeout_ms=RESPONSE_TIMEOUT_MS)

    def _on_response(self) -> None:
        if not self.is_reachable:
            self.is_reachable = True
            _log.warning("Kafka at %s is back", self._kafka.bootstrap_servers)

    def _on_timeout(self) -> None:
        if self.is_reachable:
            self.is_reachable = False
            _log.warning("Kafka at %s does not answer: waiting", self._kafka.bootstrap_servers)

    def _check_new_partitions(self, partitions: int) -> None:
        if partitions > self._partitions_known and not self.has_more_partitions:
            self.has_more_partitions = True
            _log.warning(
                "topic %s has %d partitions now, %d before: the run restarts to read them all",
                self._kafka.topic,
                partitions,
                self._partitions_known,
            )

    def _commit(self, client: KafkaConsumer) -> None:
        with self._lock:
            scheduled, self._scheduled = self._scheduled, {}
        try:
            commit_offsets(client, scheduled)
        except KafkaError:
            with self._lock:
                self._scheduled = scheduled | self._scheduled
            raise
        self._logged_refusal = ""

    def _log_refusal(self, reason: str) -> None:
        """Log a refusal once. The flow continues: only the lag is not visible."""
        if reason != self._logged_refusal:
            self._logged_refusal = reason
            _log.warning("Kafka at %s refuses: %s", self._kafka.bootstrap_servers, reason)


def commit_offsets(client: KafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit offsets to the group of a client. Raises KafkaError."""
    if offsets:
        client.commit(
            {partition: OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()},
            timeout_ms=RESPONSE_TIMEOUT_MS,
        )
