"""The events topic as the log of the collector: an event is stored when all in-sync replicas have it."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from kafka import KafkaProducer
from kafka.errors import KafkaError

from flows.kafka.client import client_arguments, errors_as_user_errors
from serving.collector.event_log import LogUnavailableError
from state.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serving.collector.event_log import LogRecord
    from state.config_deployment import Kafka

LINGER_MS = 5
WAITING_MAX = 64
"""Requests that wait for the broker at once, each in a thread; they share the producer's batches."""


class KafkaEventLog:
    """Appends events to `kafka.topic`, keyed by shopper. It connects at the first event."""

    def __init__(self, kafka: Kafka, timeout_ms: int) -> None:
        self._kafka = kafka
        self._timeout_ms = timeout_ms
        self._threads = ThreadPoolExecutor(WAITING_MAX, "collector-kafka")
        self._producer: KafkaProducer | None = None

    async def append(self, records: Sequence[LogRecord]) -> None:
        """Append records. Raises LogUnavailableError."""
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._append, records)

    def _append(self, records: Sequence[LogRecord]) -> None:
        try:
            with errors_as_user_errors(self._kafka):
                producer = self._connected()
                sent = [
                    producer.send(self._kafka.topic, record.value, key=record.key)
                    for record in records
                ]
                for future in sent:
                    future.get(timeout=self._timeout_ms / 1000)
        except (SourceError, KafkaError) as error:
            raise LogUnavailableError(str(error)) from error

    def _connected(self) -> KafkaProducer:
        if self._producer is None:
            self._producer = KafkaProducer(
                **client_arguments(self._kafka),
                acks="all",
                enable_idempotence=True,
                linger_ms=LINGER_MS,
                delivery_timeout_ms=self._timeout_ms,
                request_timeout_ms=self._timeout_ms - LINGER_MS,
                max_block_ms=self._timeout_ms,
                compression_type="gzip",
            )
        return self._producer

    async def close(self) -> None:
        """Close the connections; what is not acknowledged is in the spool."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._producer is not None:
            self._producer.close(timeout=2.0)
