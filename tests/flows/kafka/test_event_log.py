"""Kafka behind the collector: what it refuses for good, what it cannot take now, and how it ends."""

from __future__ import annotations

import asyncio
import ctypes
from pathlib import Path
from typing import TYPE_CHECKING, Any

import confluent_kafka
import pytest
from kafka import KafkaConsumer, TopicPartition

from flows.kafka.event_log import KafkaEventLog
from serving.collector.event_log import (
    RECORD_BYTES_MAX,
    LogRecord,
    LogUnavailableError,
    TooLargeError,
)
from serving.collector.intake import Intake
from serving.collector.spool import Spool
from state.config_deployment import Kafka
from tests.pages import in_loop

if TYPE_CHECKING:
    from tests.kafka_broker import AnyBroker

TIMEOUT_MS = 30_000


def log_at(address: str, topic: str, **arguments: Any) -> KafkaEventLog:
    log = KafkaEventLog(Kafka(bootstrap_servers=address, topic=topic), TIMEOUT_MS)
    for sender in (log._together, log._one_by_one):
        sender._arguments |= {name.replace("_", "."): value for name, value in arguments.items()}
    return log


def simulated(**arguments: Any) -> KafkaEventLog:
    """A log before the broker that librdkafka simulates for tests, in each of its producers."""
    return log_at("", "events", test_mock_num_brokers=1, **arguments)


def record(size: int = 10) -> LogRecord:
    return LogRecord(b"k", b"v" * size)


def sizes_in(broker: AnyBroker, topic: str, count: int) -> list[int]:
    partition = TopicPartition(topic, 0)
    consumer = KafkaConsumer(bootstrap_servers=broker.address, auto_offset_reset="earliest")
    consumer.assign([partition])
    found: list[int] = []
    while len(found) < count:
        for records in consumer.poll(500).values():
            found += [len(one.value) for one in records]
    consumer.close()
    return found


def test_a_record_of_the_greatest_size_that_is_accepted_is_stored() -> None:
    async def run() -> None:
        log = simulated()
        await log.append([record(RECORD_BYTES_MAX - 1)])
        await log.close()

    in_loop(run())


def test_what_is_larger_is_refused_alone() -> None:
    async def run() -> None:
        log = simulated()
        with pytest.raises(TooLargeError) as caught:
            await log.append([record(), record(1_000_001), record()])
        assert caught.value.indexes == {1}
        await log.close()

    in_loop(run())


def test_a_topic_with_a_lower_limit_refuses_no_small_record(kafka_broker: AnyBroker) -> None:
    """A broker refuses a batch as a whole; those that it holds are sent one by one then."""
    topic = kafka_broker.create_topic("small", 1, max_message_bytes="2000")

    async def run() -> None:
        log = log_at(kafka_broker.address, topic, compression_type="none")
        with pytest.raises(TooLargeError) as caught:
            await log.append([record(900), record(901), record(5000), record(902)])
        assert caught.value.indexes == {2}
        await log.close()

    in_loop(run())
    assert sorted(sizes_in(kafka_broker, topic, 3)) == [900, 901, 902]


def test_one_in_the_spool_that_is_too_large_holds_up_no_other(
    kafka_broker: AnyBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    topic = kafka_broker.create_topic("small", 1, max_message_bytes="2000")
    spool = Spool(tmp_path, 1_000_000)
    for size in (10, 5000, 20):
        spool.append([record(size)])

    async def run() -> None:
        log = log_at(kafka_broker.address, topic, compression_type="none")
        drain = asyncio.create_task(Intake(log, spool).drain_while_running())
        while spool.byte_count:
            await asyncio.sleep(0.01)
        drain.cancel()
        await log.close()

    in_loop(asyncio.wait_for(run(), 60))
    assert sorted(sizes_in(kafka_broker, topic, 2)) == [10, 20]
    assert [one for one in caplog.messages if "lost" in one] == [
        "1 accepted events are lost: of 5001 bytes, they are too large for the log: raise "
        "max.message.bytes of the topic to 1 MB"
    ]


def test_a_full_queue_is_emptied_without_another_event() -> None:
    async def run() -> None:
        log = simulated(queue_buffering_max_messages=10)
        with pytest.raises(LogUnavailableError, match="full"):
            await log.append([record()] * 15)
        producer = log._together._producer
        assert producer is not None
        while len(producer):  # the reports of those that went
            await asyncio.sleep(0.01)
        await log.append([record()] * 10)
        await log.close()

    in_loop(asyncio.wait_for(run(), 60))


def _end_for_good(producer: confluent_kafka.Producer) -> None:
    """What librdkafka has for the tests of its users: an error after which a producer sends nothing."""

    class Handle(ctypes.Structure):
        _fields_ = (
            ("references", ctypes.c_ssize_t),
            ("kind", ctypes.c_void_p),
            ("librdkafka", ctypes.c_void_p),
        )

    folder = Path(confluent_kafka.__file__).parents[1] / "confluent_kafka.libs"
    (library,) = folder.glob("librdkafka*")
    raw = Handle.from_address(id(producer)).librdkafka
    name = ctypes.CDLL(str(library)).rd_kafka_test_fatal_error
    name(ctypes.c_void_p(raw), ctypes.c_int(45), ctypes.c_char_p(b"out of order"))


def test_an_error_that_ends_a_producer_is_followed_by_another_one() -> None:
    async def run() -> None:
        log = simulated()
        await log.append([record()])
        first = log._together._producer
        assert first is not None
        _end_for_good(first)
        failures = 0
        for _ in range(3):
            try:
                await log.append([record()])
            except LogUnavailableError:  # those that were on their way when it ended
                failures += 1
        assert failures <= 1
        assert log._together._producer is not first
        await log.close()

    in_loop(asyncio.wait_for(run(), 60))


def test_at_the_end_reports_arrive_in_the_thread_of_the_loop() -> None:
    """A future is not safe in another thread: the loop would not wake up, or hear of it twice."""

    async def run() -> None:
        log = simulated(linger_ms=200)
        asyncio.get_running_loop().set_debug(True)  # which refuses calls from other threads
        sent = asyncio.create_task(log.append([record()]))
        await asyncio.sleep(0)
        if (timer := log._together._timer) is not None:
            timer.cancel()  # so that only `close` asks for reports
        await log.close()
        await asyncio.wait_for(sent, 30)

    in_loop(run())
