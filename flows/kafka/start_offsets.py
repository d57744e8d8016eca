"""Where a partition begins: what `kafka.start` means, and what is there at all."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from flows.kafka.client import REQUEST_MS, consumer, in_words
from state.errors import UserError

if TYPE_CHECKING:
    from kafka import KafkaConsumer, TopicPartition

    from state.config import Kafka

_log = logging.getLogger("penstock.kafka")


class Held(NamedTuple):
    """What a broker holds of a partition: the offset of its oldest record, and of its next one."""

    beginning: int
    end: int


def held(
    client: KafkaConsumer, partitions: list[TopicPartition], kafka: Kafka
) -> dict[TopicPartition, Held]:
    """What the broker holds of partitions. Raises UserError."""
    with in_words(kafka):
        beginnings = client.beginning_offsets(partitions, timeout_ms=REQUEST_MS)
        ends = client.end_offsets(partitions, timeout_ms=REQUEST_MS)
    return {one: Held(beginnings[one], ends[one]) for one in partitions}


def first_offsets(
    client: KafkaConsumer, there: dict[TopicPartition, Held], kafka: Kafka, start: str | int
) -> dict[TopicPartition, int]:
    """The offset at which each partition starts: earliest, latest, group or a time. Raises UserError.

    A partition of which the group has committed nothing starts at its beginning; where nothing is as
    young as the time, it starts at the end.
    """
    if start == "earliest":
        return {one: found.beginning for one, found in there.items()}
    if start == "latest":
        return {one: found.end for one, found in there.items()}
    if start == "group":
        committed = _committed(list(there), kafka)
        return {one: committed.get(one, found.beginning) for one, found in there.items()}
    at_ms = start_ms(start)
    with in_words(kafka):
        found = client.offsets_for_times(dict.fromkeys(there, at_ms), timeout_ms=REQUEST_MS)
    return {
        one: there[one].end if found.get(one) is None else int(found[one].offset) for one in there
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
        raise UserError(
            f"kafka.start {start!r}: expected earliest, latest, group, or a time such as "
            "2026-11-21T12:00:00Z"
        ) from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def within(found: Held, partition: TopicPartition, offset: int, kafka: Kafka) -> int:
    """The offset to read at: the wanted one if it is there, else what `kafka.out_of_range` says.

    Raises UserError where that is to fail: what is missing was deleted before it was read, or the
    topic was made anew.
    """
    if found.beginning <= offset <= found.end:
        return offset
    what = (
        f"partition {partition.partition} of topic {partition.topic} has offsets "
        f"{found.beginning} to {found.end}, not {offset}, where this run goes on"
    )
    return chosen(found, kafka, what, "what was there is deleted, or the topic was made anew")


def chosen(found: Held, kafka: Kafka, what: str, why: str) -> int:
    """The offset that `kafka.out_of_range` says; UserError where it says to fail."""
    if kafka.out_of_range == "fail":
        raise UserError(
            f"{what}: {why}: go on with the oldest record (--set kafka.out_of_range=earliest) or "
            "after the newest (=latest), or start again with an empty recovery folder"
        )
    offset = found.beginning if kafka.out_of_range == "earliest" else found.end
    _log.warning("%s: goes on at %d, as kafka.out_of_range says", what, offset)
    return offset


def _committed(partitions: list[TopicPartition], kafka: Kafka) -> dict[TopicPartition, int]:
    client = consumer(kafka, group_id=kafka.group)
    try:
        with in_words(kafka):
            found = {one: client.committed(one, timeout_ms=REQUEST_MS) for one in partitions}
    finally:
        client.close()
    return {one: int(offset) for one, offset in found.items() if offset is not None}
