"""Reads dead letters from their topic, from its beginning to its current end."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from flows.kafka.client import (
    REQUEST_TIMEOUT_MS,
    create_consumer,
    errors_as_user_errors,
    partitions_of,
)
from flows.kafka.start_offsets import available_offsets
from state.dead_letters import DeadLetter
from state.errors import DataError, SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.config_deployment import Kafka


def read_dead_letters(kafka: Kafka, topic: str) -> Iterator[tuple[DeadLetter, int]]:
    """Each dead letter and the time at which it was written (ms).

    Raises UserError without a broker or topic, and for a record that is no dead letter.
    """
    decode = msgspec.json.Decoder(DeadLetter).decode
    with closing(create_consumer(kafka)) as client, errors_as_user_errors(kafka):
        ranges = available_offsets(client, partitions_of(client, kafka, topic), kafka)
        end_offsets = {
            partition: offset_range.end
            for partition, offset_range in ranges.items()
            if offset_range.beginning < offset_range.end
        }
        client.assign(list(end_offsets))
        for partition in end_offsets:
            client.seek(partition, ranges[partition].beginning)
        while end_offsets:
            fetched = client.poll(timeout_ms=REQUEST_TIMEOUT_MS)
            if not fetched:
                raise SourceError(f"Kafka at {kafka.bootstrap_servers} does not answer: try again")
            for partition, records in fetched.items():
                for record in records:
                    if record.offset >= end_offsets.get(partition, 0):
                        continue
                    try:
                        letter = decode(record.value or b"")
                    except msgspec.DecodeError as error:
                        raise DataError(
                            f"topic {topic}, partition {partition.partition}, offset "
                            f"{record.offset} is no dead letter: {error}: name another topic"
                        ) from error
                    yield letter, record.timestamp
                if client.position(partition) >= end_offsets.get(partition, 0):
                    end_offsets.pop(partition, None)
