"""A producer that loses no records: each is confirmed by all in-sync replicas, and written once."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from flows.kafka.client import (
    client_arguments,
    create_consumer,
    errors_as_user_errors,
    partitions_of,
)
from flows.process import liveness

if TYPE_CHECKING:
    from kafka.producer.future import FutureRecordMetadata

    from state.config_deployment import Kafka

DELIVERY_TIMEOUT_MS = 600_000
"""How long to wait for a broker that is away, as long as for Redis (`redis.patience_s`)."""
METADATA_TIMEOUT_MS = 10_000
LINGER_MS = 5
CLOSE_TIMEOUT_S = 2.0
PROGRESS_INTERVAL_S = 1.0

Headers = list[tuple[str, bytes]]


class Producer:
    """Sends records to one topic. Raises UserError without a broker or the topic."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.topic = topic
        self._kafka = kafka
        self._unconfirmed: list[FutureRecordMetadata] = []
        with closing(create_consumer(kafka)) as client:
            partitions_of(client, kafka, topic)
        with errors_as_user_errors(kafka):
            self._client = KafkaProducer(
                **client_arguments(kafka),
                acks="all",
                enable_idempotence=True,
                linger_ms=LINGER_MS,
                delivery_timeout_ms=DELIVERY_TIMEOUT_MS,
                max_block_ms=METADATA_TIMEOUT_MS,
                compression_type="gzip",
            )

    def send(self, key: bytes | None, value: bytes, headers: Headers | None = None) -> None:
        """Send a record soon; `flush_and_check` makes sure that it arrived."""
        with errors_as_user_errors(self._kafka):
            self._unconfirmed.append(
                self._client.send(self.topic, value, key=key, headers=headers or [])
            )

    def flush_and_check(self) -> None:
        """Return when all sent records have arrived. Raises UserError if one cannot."""
        unconfirmed, self._unconfirmed = self._unconfirmed, []
        if not unconfirmed:
            return
        with errors_as_user_errors(self._kafka):
            self._flush()
            for future in unconfirmed:
                future.get(timeout=0)

    def _flush(self) -> None:
        deadline_s = time.monotonic() + DELIVERY_TIMEOUT_MS / 1000
        while True:
            liveness.mark_progress()  # waiting for a broker is progress
            try:
                self._client.flush(timeout=PROGRESS_INTERVAL_S)
            except KafkaTimeoutError:
                if time.monotonic() > deadline_s:
                    raise
            else:
                return

    def close(self) -> None:
        """Close the connection without waiting for unconfirmed records."""
        self._client.close(timeout=CLOSE_TIMEOUT_S)
