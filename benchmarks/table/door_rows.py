"""Rows of the storefront's server: lists, and events into Kafka and Redis Streams."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks import storefront
from benchmarks.table.rows import Part, Row

if TYPE_CHECKING:
    from benchmarks.table.rows import Options


def part(name: str, options: Options) -> dict[str, float]:
    """A part of `benchmarks.storefront`."""
    return storefront.measure(storefront.Asked(rounds=options.rounds), (name,))


PARTS = (
    Part(
        (
            Row("door_list", "lists of 12 with cards a second over plain GETs", 0.3, 0.4),
            Row("door_list_cpu", "the same by processor time of the server", 0.3, 0.4),
            Row("door_p99", "p99 of such a list at half load over a plain GET's", 5, 3),
        ),
        partial(part, "lists"),
        is_quick=True,
    ),
    Part(
        (
            Row("door_streams", "events into Redis Streams a second over unread bodies", 0.5, 0.6),
            Row("door_streams_cpu", "the same by processor time of the server", 0.5, 0.6),
        ),
        partial(part, "redis"),
        is_quick=True,
    ),
    Part(
        (
            Row("door_kafka", "events into Kafka a second over unread bodies", 0.5, 0.6),
            Row("door_kafka_cpu", "the same by processor time of the server", 0.5, 0.6),
        ),
        partial(part, "kafka"),
    ),
)
