"""The events topic as the log of the collector: an event is stored when all in-sync replicas have it.

It sends with librdkafka, whose threads are not Python's: a record costs the server a few microseconds,
beside some sixty with kafka-python.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaException, Producer

from flows.kafka.security import security_arguments
from serving.collector.event_log import LogUnavailableError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from confluent_kafka import KafkaError, Message

    from serving.collector.event_log import LogRecord
    from state.config_deployment import Kafka

LINGER_MS = 5
POLL_S = 0.002
CLOSE_S = 2.0


class _Delivery:
    """Records that were sent together, and the future of those who wait for all of them."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._failure: KafkaError | None = None
        self.stored: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_delivery(self, error: KafkaError | None, message: Message) -> None:
        """One of them is stored, or given up."""
        self._failure = self._failure or error
        self._missing -= 1
        if self._missing or self.stored.done():
            return
        if self._failure is None:
            self.stored.set_result(None)
        else:
            self.stored.set_exception(LogUnavailableError(self._failure.str()))


class KafkaEventLog:
    """Appends events to `kafka.topic`, keyed by shopper. It connects at the first event.

    Raises ConfigurationError where the login is missing.
    """

    def __init__(self, kafka: Kafka, timeout_ms: int) -> None:
        self._topic = kafka.topic
        self._arguments = _arguments(kafka, timeout_ms)
        self._producer: Producer | None = None
        self._waiting = 0
        self._timer: asyncio.TimerHandle | None = None

    async def append(self, records: Sequence[LogRecord]) -> None:
        """Append records. Raises LogUnavailableError."""
        group = _Delivery(len(records))
        try:
            if self._producer is None:
                self._producer = Producer(self._arguments)
            producer = self._producer
            for record in records:
                producer.produce(
                    self._topic, record.value, record.key, on_delivery=group.on_delivery
                )
        except (KafkaException, BufferError) as error:
            raise LogUnavailableError(str(error)) from error
        self._waiting += 1
        self._poll_soon()
        try:
            await group.stored
        finally:
            self._waiting -= 1

    async def close(self) -> None:
        """Close the connections; what is not acknowledged is in the spool."""
        if self._producer is not None:
            await asyncio.to_thread(self._producer.flush, CLOSE_S)

    def _poll_soon(self) -> None:
        # In the thread of the loop: another one would wait for the interpreter as often as it answers.
        if self._timer is None and self._waiting:
            self._timer = asyncio.get_running_loop().call_later(POLL_S, self._poll)

    def _poll(self) -> None:
        self._timer = None
        assert self._producer is not None
        self._producer.poll(0)
        self._poll_soon()


def _arguments(kafka: Kafka, timeout_ms: int) -> dict[str, Any]:
    """The configuration of librdkafka. Other clients put an id into the same partition."""
    arguments: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "client.id": "penstock",
        "acks": "all",
        "enable.idempotence": True,
        "partitioner": "murmur2_random",
        "linger.ms": LINGER_MS,
        "message.timeout.ms": timeout_ms,
        "compression.type": "lz4",
        "reconnect.backoff.max.ms": 1000,
        "log_level": 0,
    }
    known = security_arguments(kafka)
    arguments["security.protocol"] = known["security_protocol"]
    if "ssl_context" in known:
        files = {
            "ssl.ca.location": kafka.ca_file,
            "ssl.certificate.location": kafka.certificate_file,
            "ssl.key.location": kafka.key_file or kafka.certificate_file,
        }
        arguments |= {name: file for name, file in files.items() if file}
    if "sasl_mechanism" in known:
        arguments["sasl.mechanism"] = known["sasl_mechanism"]
        arguments["sasl.username"] = known["sasl_plain_username"]
        arguments["sasl.password"] = known["sasl_plain_password"]
    return arguments
