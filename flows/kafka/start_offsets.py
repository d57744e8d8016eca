"""Where a partition begins: what `kafka.start` means, and what is there at all."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from flows.kafka.client import REQUEST_TIMEOUT_MS, create_consumer, errors_as_user_errors
from state.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

    from state.config import Kafka

_log = logging.getLogger("penstock.kafka")


class OffsetRange(NamedTuple):
    """What a broker holds of a partition: the offset of its oldest record, and of its next one."""

    beginning: int
    end: int


def available_offsets(
    client: KafkaConsumer, partitions: list[TopicPartition], kafka: Kafka
) -> dict[TopicPartition, OffsetRange]:
    """What the broker holds of partitions. Raises UserError."""
    with errors_as_user_errors(kafka):
        beginnings = client.beginning_offsets(partitions, timeout_ms=REQUEST_TIMEOUT_MS)
        ends = client.end_offsets(partitions, timeout_ms=REQUEST_TIMEOUT_MS)
    return {
        partition: OffsetRange(beginnings[partition], ends[partition]) for partition in partitions
    }


def first_offsets(
    client: KafkaConsumer,
    available: dict[TopicPartition, OffsetRange],
    kafka: Kafka,
    start: str | int,
) -> dict[TopicPartition, int]:
    """The offset at which each partition starts: earliest, latest, group or a time. Raises UserError.

    A partition of which the group has committed nothing starts at its beginning; where nothing is as
    young as the time, it starts at the end.
    """
    if start == "earliest":
        return {partition: offset_range.beginning for partition, offset_range in available.items()}
    if start == "latest":
        return {partition: offset_range.end for partition, offset_range in available.items()}
    if start == "group":
        committed = _committed_offsets(list(available), kafka)
        return {
            partition: committed.get(partition, offset_range.beginning)
            for partition, offset_range in available.items()
        }
    at_ms = start_ms(start)
    with errors_as_user_errors(kafka):
        by_time = client.offsets_for_times(
            dict.fromkeys(available, at_ms), timeout_ms=REQUEST_TIMEOUT_MS
        )
    return {
        partition: available[partition].end
        if by_time.get(partition) is None
        else int(by_time[partition].offset)
        for partition in available
    }


def start_ms(start: str | int) -> int:
    """A time in words as ms since 1970: ISO (UTC unless it says otherwise) or a number of ms.

    >>> start_ms("2026-11-21T12:00:00Z"), start_ms(1795262400000)
    (1795262400000, 1795262400000)
    """
    if isinstance(start, int):
        return start
    try:
        at = datetime.fromisoformat(start)
    except ValueError:
        raise ConfigurationError(
            f"kafka.start {start!r}: expected earliest, latest, group, or a time such as "
            "2026-11-21T12:00:00Z"
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def checked_offset(
    available: OffsetRange, partition: TopicPartition, offset: int, kafka: Kafka
) -> int:
    """The offset to read at: the wanted one if it is there, else what `kafka.out_of_range` says.

    Raises UserError where that is to fail: what is missing was deleted before it was read, or the
    topic was made anew.
    """
    if available.beginning <= offset <= available.end:
        return offset
    problem = (
        f"partition {partition.partition} of topic {partition.topic} has offsets "
        f"{available.beginning} to {available.end}, not {offset}, where this run goes on"
    )
    return fallback_offset(
        available, kafka, problem, "what was there is deleted, or the topic was made anew"
    )


def fallback_offset(available: OffsetRange, kafka: Kafka, problem: str, cause: str) -> int:
    """The offset that `kafka.out_of_range` says; UserError where it says to fail."""
    if kafka.out_of_range == "fail":
        raise SourceError(
            f"{problem}: {cause}: go on with the oldest record (--set kafka.out_of_range=earliest) or "
            "after the newest (=latest), or start again with an empty recovery folder"
        )
    offset = available.beginning if kafka.out_of_range == "earliest" else available.end
    _log.warning("%s: goes on at %d, as kafka.out_of_range says", problem, offset)
    return offset


def _committed_offsets(partitions: list[TopicPartition], kafka: Kafka) -> dict[TopicPartition, int]:
    client = create_consumer(kafka, group_id=kafka.group)
    try:
        with errors_as_user_errors(kafka):
            committed = {
                partition: client.committed(partition, timeout_ms=REQUEST_TIMEOUT_MS)
                for partition in partitions
            }
    finally:
        client.close()
    return {partition: int(offset) for partition, offset in committed.items() if offset is not None}
