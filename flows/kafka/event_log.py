"""The events topic as the log of the collector: an event is stored when all in-sync replicas have it.

It sends with librdkafka, whose threads are not Python's: a record costs the server a few microseconds,
beside some sixty with kafka-python.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from confluent_kafka import KafkaError, KafkaException, Producer

from flows.kafka.security import security_arguments
from serving.collector.event_log import LogUnavailableError, TooLargeError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from confluent_kafka import Message

    from serving.collector.event_log import LogRecord
    from state.config_deployment import Kafka

    _End = Callable[[KafkaError | None, Message | None], None]

LINGER_MS = 1
"""Records come in groups already, and each sender waits for its group."""
POLL_S = 0.002
CLOSE_S = 2.0

_log = logging.getLogger("penstock.collector")


class _SentGroup:
    """Records that were sent together, and the future of those who wait for all of them."""

    def __init__(self, count: int) -> None:
        self._missing = count
        self._failure: KafkaError | None = None
        self._too_large: list[int] = []
        self.stored: asyncio.Future[list[int]] = asyncio.get_running_loop().create_future()
        """The indexes of the records that are too large, when all others are stored."""

    def end_one(self, index: int, error: KafkaError | None, message: Message | None = None) -> None:
        """One of them is stored, or given up."""
        if error is not None and error.code() == KafkaError.MSG_SIZE_TOO_LARGE:
            self._too_large.append(index)
        else:
            self._failure = self._failure or error
        self._missing -= 1
        if self._missing or self.stored.done():
            return
        if self._failure is None:
            self.stored.set_result(sorted(self._too_large))
        else:
            self.stored.set_exception(LogUnavailableError(self._failure.str()))


class _Sender:
    """Sends with one producer, and with another one after an error that ends a producer.

    What the librdkafka of a producer reports waits in its queue until it is polled, which happens in the
    thread of the loop as long as anything is on its way.
    """

    def __init__(self, topic: str, arguments: dict[str, Any]) -> None:
        self._topic = topic
        self._arguments = arguments
        self._producer: Producer | None = None
        self._ended: list[Producer] = []
        self._timer: asyncio.TimerHandle | None = None

    async def send(self, records: Sequence[LogRecord]) -> list[int]:
        """Return the indexes of records that are too large when all others are stored.

        Raises LogUnavailableError.
        """
        try:
            try:
                group = self._produce_all(records)
            except KafkaException as error:
                if error.args[0].code() != KafkaError._FATAL:
                    raise
                self._end_producer()
                group = self._produce_all(records)
        except (KafkaException, BufferError) as error:
            raise LogUnavailableError(str(error)) from error
        finally:
            self._poll_soon()  # also after a failure: some may be on their way
        return await group.stored

    def _produce_all(self, records: Sequence[LogRecord]) -> _SentGroup:
        if self._producer is None:
            self._producer = Producer(self._arguments)
        self._producer.poll(0)  # reports of earlier records take room in its queue
        group = _SentGroup(len(records))
        for index, record in enumerate(records):
            self._produce(self._producer, record, partial(group.end_one, index))
        return group

    def _produce(self, producer: Producer, record: LogRecord, end: _End) -> None:
        try:
            producer.produce(self._topic, record.value, record.key, on_delivery=end)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.MSG_SIZE_TOO_LARGE:
                raise
            end(error.args[0], None)

    async def close(self) -> None:
        """Wait a moment for what is on its way."""
        deadline_s = time.monotonic() + CLOSE_S
        while self._poll_all() and time.monotonic() < deadline_s:
            await asyncio.sleep(POLL_S)
        if self._timer is not None:
            self._timer.cancel()

    def _end_producer(self) -> None:
        if self._producer is not None:
            _log.error("a Kafka producer cannot go on: another one takes its place")
            self._ended.append(self._producer)
            self._producer = None

    def _poll_soon(self) -> None:
        # In the thread of the loop: another one would wait for the interpreter as often as it answers.
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(POLL_S, self._poll)

    def _poll(self) -> None:
        self._timer = None
        if self._poll_all():
            self._poll_soon()

    def _poll_all(self) -> bool:
        """Handle what the producers report; whether there is more to come."""
        for producer in (self._producer, *self._ended):
            if producer is not None:
                producer.poll(0)
        self._ended = [producer for producer in self._ended if len(producer)]
        return bool(self._ended) or (self._producer is not None and len(self._producer) > 0)


class KafkaEventLog:
    """Appends events to `kafka.topic`, keyed by shopper. It connects at the first event.

    Raises ConfigurationError where the login is missing.
    """

    def __init__(self, kafka: Kafka, timeout_ms: int) -> None:
        arguments = _arguments(kafka, timeout_ms)
        self._together = _Sender(kafka.topic, arguments)
        self._one_by_one = _Sender(kafka.topic, arguments | {"batch.num.messages": 1})

    async def append(self, records: Sequence[LogRecord]) -> None:
        """Append records. Raises LogUnavailableError, TooLargeError."""
        refused = await self._together.send(records)
        if not refused:
            return
        # A broker refuses a batch as a whole, for which none of its records need be too large.
        too_large = await self._one_by_one.send([records[index] for index in refused])
        if too_large:
            raise TooLargeError([refused[index] for index in too_large])

    async def close(self) -> None:
        """Close the connections; what is not acknowledged is in the spool."""
        await asyncio.gather(self._together.close(), self._one_by_one.close())


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
