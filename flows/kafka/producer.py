"""A producer that loses nothing: every replica has a record before it counts as sent, each once."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from kafka import KafkaProducer
from kafka.errors import KafkaTimeoutError

from flows.kafka.client import connection, consumer, in_words, partitions_of
from flows.process import liveness

if TYPE_CHECKING:
    from kafka.producer.future import FutureRecordMetadata

    from state.config import Kafka

PATIENCE_MS = 600_000
"""How long a broker that is away is waited for, as long as for Redis (`redis.patience_s`)."""
TOPIC_MS = 10_000
LINGER_MS = 5
CLOSE_S = 2.0
BEAT_S = 1.0

Headers = list[tuple[str, bytes]]


class Producer:
    """Records into one topic. Raises UserError without a broker or the topic."""

    def __init__(self, kafka: Kafka, topic: str) -> None:
        self.topic = topic
        self._kafka = kafka
        self._sent: list[FutureRecordMetadata] = []
        with closing(consumer(kafka)) as client:
            partitions_of(client, kafka, topic)
        with in_words(kafka):
            self._client = KafkaProducer(
                **connection(kafka),
                acks="all",
                enable_idempotence=True,
                linger_ms=LINGER_MS,
                delivery_timeout_ms=PATIENCE_MS,
                max_block_ms=TOPIC_MS,
                compression_type="gzip",
            )

    def send(self, key: bytes | None, value: bytes, headers: Headers | None = None) -> None:
        """Send a record soon; `settle` says whether it arrived."""
        with in_words(self._kafka):
            self._sent.append(self._client.send(self.topic, value, key=key, headers=headers or []))

    def settle(self) -> None:
        """Return when all that was sent has arrived. Raises UserError where something cannot."""
        sent, self._sent = self._sent, []
        if not sent:
            return
        with in_words(self._kafka):
            self._flush()
            for future in sent:
                future.get(timeout=0)

    def _flush(self) -> None:
        until_s = time.monotonic() + PATIENCE_MS / 1000
        while True:
            liveness.beat()  # who waits for a broker is not stuck
            try:
                self._client.flush(timeout=BEAT_S)
            except KafkaTimeoutError:
                if time.monotonic() > until_s:
                    raise
            else:
                return

    def close(self) -> None:
        """Let go of the broker, without waiting for what is not settled."""
        self._client.close(timeout=CLOSE_S)
