"""Dead letters out of their topic, from its beginning to where it ends now."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import msgspec

from flows.kafka.client import REQUEST_MS, consumer, in_words, partitions_of
from flows.kafka.start_offsets import held
from state.dead_letters import DeadLetter
from state.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.config import Kafka


def in_topic(kafka: Kafka, topic: str) -> Iterator[tuple[DeadLetter, int]]:
    """Each letter and when it was set aside (ms). Raises UserError: no broker, no topic, no letter."""
    decode = msgspec.json.Decoder(DeadLetter).decode
    with closing(consumer(kafka)) as client, in_words(kafka):
        there = held(client, partitions_of(client, kafka, topic), kafka)
        going_on = {one: found.end for one, found in there.items() if found.beginning < found.end}
        client.assign(list(going_on))
        for partition in going_on:
            client.seek(partition, there[partition].beginning)
        while going_on:
            arrived = client.poll(timeout_ms=REQUEST_MS)
            if not arrived:
                raise UserError(f"Kafka at {kafka.bootstrap_servers} does not answer: try again")
            for partition, records in arrived.items():
                for record in records:
                    if record.offset >= going_on.get(partition, 0):
                        continue
                    try:
                        letter = decode(record.value or b"")
                    except msgspec.DecodeError as error:
                        raise UserError(
                            f"topic {topic}, partition {partition.partition}, offset "
                            f"{record.offset} is no dead letter: {error}"
                        ) from error
                    yield letter, record.timestamp
                if client.position(partition) >= going_on.get(partition, 0):
                    going_on.pop(partition, None)
