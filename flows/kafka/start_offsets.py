"""The offset at which a partition starts: the meaning of `kafka.start` and `kafka.out_of_range`."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from flows.kafka.client import REQUEST_TIMEOUT_MS, create_consumer, errors_as_user_errors
from state.errors import ConfigurationError, SourceError

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

    from state.config_deployment import Kafka

_log = logging.getLogger("penstock.kafka")


class OffsetRange(NamedTuple):
    """The offsets of a partition in the broker: of its oldest record, and of its next one."""

    beginning: int
    end: int


def available_offsets(
    client: KafkaConsumer, partitions: list[TopicPartition], kafka: Kafka
) -> dict[TopicPartition, OffsetRange]:
    """The offsets that the broker has of partitions. Raises UserError."""
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

    With `group`, a partition without a committed offset starts at its beginning. With a time, a
    partition without later records starts at its end.
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
    """A time as ms since 1970, from ISO text (UTC without an offset) or a number of ms.

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
    """The wanted offset if the broker has it, else the one that `kafka.out_of_range` says.

    Raises UserError if that is `fail`: the missing records were deleted before they were read, or the
    topic was recreated.
    """
    if available.beginning <= offset <= available.end:
        return offset
    problem = (
        f"partition {partition.partition} of topic {partition.topic} has offsets "
        f"{available.beginning} to {available.end}, not {offset}, where this run resumes"
    )
    return fallback_offset(
        available, kafka, problem, "its records were deleted, or the topic was recreated"
    )


def fallback_offset(available: OffsetRange, kafka: Kafka, problem: str, cause: str) -> int:
    """The offset that `kafka.out_of_range` says. Raises UserError if it is `fail`."""
    if kafka.out_of_range == "fail":
        raise SourceError(
            f"{problem}: {cause}: continue with the oldest record (--set kafka.out_of_range=earliest), "
            "or after the newest (=latest), or start again with an empty recovery folder"
        )
    offset = available.beginning if kafka.out_of_range == "earliest" else available.end
    _log.warning("%s: continues at %d, as kafka.out_of_range says", problem, offset)
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
