"""Where a partition without a snapshot begins: `kafka.start`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from flows.kafka.client import REQUEST_MS, consumer, in_words
from state.errors import UserError

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

    from state.config import Kafka


def first_offset(client: KafkaConsumer, partition: TopicPartition, kafka: Kafka) -> int:
    """The offset that `kafka.start` means for a partition. Raises UserError."""
    with in_words(kafka):
        if kafka.start == "latest":
            return _end(client, partition)
        if kafka.start == "group":
            committed = _committed(partition, kafka)
            return _beginning(client, partition) if committed is None else committed
        if kafka.start == "earliest":
            return _beginning(client, partition)
        found = client.offsets_for_times({partition: start_ms(kafka.start)}, timeout_ms=REQUEST_MS)
        at = found.get(partition)
        return _end(client, partition) if at is None else int(at.offset)


def start_ms(start: str) -> int:
    """A time in words as ms since 1970: ISO (UTC unless it says otherwise) or a number of ms.

    >>> start_ms("2026-11-21T12:00:00Z"), start_ms("1795262400000")
    (1795262400000, 1795262400000)
    """
    if start.isdecimal():
        return int(start)
    try:
        at = datetime.fromisoformat(start)
    except ValueError:
        raise UserError(
            f"kafka.start {start!r}: expected earliest, latest, group, or a time such as "
            "2026-11-21T12:00:00Z"
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _beginning(client: KafkaConsumer, partition: TopicPartition) -> int:
    return int(client.beginning_offsets([partition], timeout_ms=REQUEST_MS)[partition])


def _end(client: KafkaConsumer, partition: TopicPartition) -> int:
    return int(client.end_offsets([partition], timeout_ms=REQUEST_MS)[partition])


def _committed(partition: TopicPartition, kafka: Kafka) -> int | None:
    client = consumer(kafka, group_id=kafka.group)
    try:
        offset = client.committed(partition, timeout_ms=REQUEST_MS)
    finally:
        client.close()
    return None if offset is None else int(offset)
