"""What a thread beside the worker asks the broker: is it there, where do partitions end, are there more.

It also commits the group's offsets. Nothing of this may hold up the worker, and a consumer is not for
two threads, so it has one of its own.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from kafka.errors import KafkaError, KafkaTimeoutError
from kafka.structs import OffsetAndMetadata

from flows.kafka.client import consumer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kafka import KafkaConsumer, TopicPartition

    from state.config import Kafka

EVERY_S = 1.0
ANSWER_MS = 3000
"""A broker that takes longer does not answer."""

_log = logging.getLogger("penstock.kafka")


class Watch:
    """Watches some partitions of the topic, of which there are `partitions_known` in all.

    `is_up` and `heard_s` (`time.monotonic`) say whether and when the broker answered last, `ends` where
    partitions end and when that was asked. `has_more_partitions`: the topic has grown.
    """

    def __init__(self, kafka: Kafka, partitions_known: int) -> None:
        self.is_up = True
        self.heard_s = time.monotonic()
        self.ends: dict[TopicPartition, tuple[int, float]] = {}
        self.has_more_partitions = False
        self._kafka = kafka
        self._partitions_known = partitions_known
        self._partitions: list[TopicPartition] = []
        self._due: dict[TopicPartition, int] = {}
        self._refused = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="kafka-watch", daemon=True)

    def add(self, partition: TopicPartition) -> None:
        """Watch a further partition."""
        self._partitions = [*self._partitions, partition]
        if not self._thread.is_alive():
            self._thread.start()

    def commit(self, partition: TopicPartition, offset: int) -> None:
        """Commit an offset to the group soon; returns at once."""
        with self._lock:
            self._due[partition] = offset

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(2 * ANSWER_MS / 1000)

    def _run(self) -> None:
        client = consumer(self._kafka, group_id=self._kafka.group)
        refresh_at_s = time.monotonic() + self._kafka.refresh_s
        try:
            while not self._stop.wait(EVERY_S):
                try:
                    asked_s = time.monotonic()
                    ends = client.end_offsets(self._partitions, timeout_ms=ANSWER_MS)
                    self.ends = {one: (end, asked_s) for one, end in ends.items()}
                    self._heard()
                    if asked_s >= refresh_at_s:
                        refresh_at_s = asked_s + self._kafka.refresh_s
                        client.topics()
                        self._look_for_more(len(client.partitions_for_topic(self._kafka.topic)))
                    self._commit(client)
                except KafkaTimeoutError:
                    self._not_heard()
                except KafkaError as error:
                    self._refuse(f"{type(error).__name__}: {error}")
        finally:
            client.close(timeout_ms=ANSWER_MS)

    def _heard(self) -> None:
        self.heard_s = time.monotonic()
        if not self.is_up:
            self.is_up = True
            _log.warning("Kafka at %s is back", self._kafka.bootstrap_servers)

    def _not_heard(self) -> None:
        if self.is_up:
            self.is_up = False
            _log.warning("Kafka at %s does not answer: waiting", self._kafka.bootstrap_servers)

    def _look_for_more(self, partitions: int) -> None:
        if partitions > self._partitions_known and not self.has_more_partitions:
            self.has_more_partitions = True
            _log.warning(
                "topic %s has %d partitions now, %d before: the run starts again to read them all",
                self._kafka.topic,
                partitions,
                self._partitions_known,
            )

    def _commit(self, client: KafkaConsumer) -> None:
        with self._lock:
            due, self._due = self._due, {}
        try:
            commit(client, due)
        except KafkaError:
            with self._lock:
                self._due = due | self._due
            raise
        self._refused = ""

    def _refuse(self, why: str) -> None:
        """Say once what Kafka refuses; the flow goes on without, since only the lag is not seen."""
        if why != self._refused:
            self._refused = why
            _log.warning("Kafka at %s refuses: %s", self._kafka.bootstrap_servers, why)


def commit(client: KafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
    """Commit offsets to the group of a client. Raises KafkaError."""
    if offsets:
        client.commit(
            {one: OffsetAndMetadata(offset, "", -1) for one, offset in offsets.items()},
            timeout_ms=ANSWER_MS,
        )
