"""A thread that monitors the broker: whether it answers, where partitions end, if there are more.

It also commits the group's offsets. These calls must not block the worker, and a consumer is not
safe for two threads, so the thread has its own consumer.
"""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.structs import OffsetAndMetadata

from flows.kafka.client import create_consumer
from flows.sources.live_connection import RESPONSE_TIMEOUT_MS
from flows.sources.live_monitor import LiveMonitor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kafka import KafkaConsumer, TopicPartition

    from state.config_deployment import Kafka

_log = logging.getLogger("penstock.kafka")


class BrokerMonitor(LiveMonitor):
    """Monitors some partitions of the topic, which has `partitions_known` in total.

    Scheduled offsets are committed to the group.
    """

    def __init__(self, kafka: Kafka, partitions_known: int) -> None:
        super().__init__("kafka-watch", _log)
        self._kafka = kafka
        self._partitions_known = partitions_known
        self._refresh_at_s = time.monotonic() + kafka.refresh_s
        self._logged_refusal = ""

    def lag(self, partition: TopicPartition, offset: int) -> int | None:
        """The number of records from an offset on; None before the first check."""
        end = self.ends.get(partition)
        return None if end is None else max(0, end[0] - offset)

    @contextmanager
    def _connected(self) -> Iterator[KafkaConsumer]:
        client = create_consumer(self._kafka, group_id=self._kafka.group)
        try:
            yield client
        finally:
            client.close(timeout_ms=RESPONSE_TIMEOUT_MS)

    def _check(self, client: KafkaConsumer) -> None:
        where = f"Kafka at {self._kafka.bootstrap_servers}"
        try:
            asked_s = time.monotonic()
            ends = client.end_offsets(self._partitions, timeout_ms=RESPONSE_TIMEOUT_MS)
            self.ends = {partition: (end, asked_s) for partition, end in ends.items()}
            self._on_response(f"{where} is back")
            if asked_s >= self._refresh_at_s:
                self._refresh_at_s = asked_s + self._kafka.refresh_s
                client.topics()
                self._check_new_partitions(len(client.partitions_for_topic(self._kafka.topic)))
            self._commit(client)
        except KafkaTimeoutError:
            self._on_silence(f"{where} does not answer: waiting")
        except KafkaError as error:
            self._log_refusal(f"{type(error).__name__}: {error}")

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
