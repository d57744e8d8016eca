"""The source of recorded events: batches of a fixed size, a final batch, and a resume between two."""

from __future__ import annotations

from threading import Event as Flag
from typing import TYPE_CHECKING, NamedTuple

import pytest

from flows.sources.recorded import RecordedSource
from operators.readers.registry import READERS
from state.config import Sessions, Settings, Source
from state.errors import SourceError
from tests.streams import START_MS, view

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flows.sources.recorded import RecordedPartition
    from state.dead_letters import DeadLetter
    from state.events import Event
    from state.messages import SourceBatch

SETTINGS = Settings(
    source=Source(batch_events=2), sessions=Sessions(shards=1, allowed_lateness_ms=1000)
)


class Batch(NamedTuple):
    """What a test compares of a batch; the watermark counts from `START_MS`."""

    number: int
    event_ids: list[str]
    failures: list[str]
    watermark_ms: int
    is_last: bool


def summary(batches: list[SourceBatch]) -> list[Batch]:
    return [
        Batch(
            message.batch.number,
            [event.event_id for event in message.events],
            [letter.failure_type for letter in batch.rejected],
            max(message.batch.watermark_ms - START_MS, 0),
            message.batch.last,
        )
        for batch in batches
        for message in batch.shard_inputs
    ]


def read_all(partition: RecordedPartition) -> list[SourceBatch]:
    batches: list[SourceBatch] = []
    while True:
        try:
            batches += partition.next_batch()
        except StopIteration:
            return batches


def records() -> Iterator[Event | DeadLetter]:
    (letter,) = READERS["penstock"]([b"?"], source="log", now_ms=0)
    yield from (view("a", 0), view("b", 5000), letter, view("c", 3000), view("d", 9000))


def test_records_become_batches_and_the_last_batch_is_empty() -> None:
    source = RecordedSource({"log": records}, SETTINGS)
    assert source.list_parts() == ["log"]
    assert summary(read_all(source.build_part("events", "log", None))) == [
        Batch(0, ["a", "b"], [], 0, is_last=False),
        Batch(1, ["c"], ["not_json"], 4000, is_last=False),
        Batch(2, ["d"], [], 4000, is_last=False),
        Batch(3, [], [], 8000, is_last=True),
    ]


def test_a_stopped_partition_resumes_after_its_last_batch() -> None:
    stop = Flag()
    source = RecordedSource({"log": records}, SETTINGS, stop)
    partition = source.build_part("events", "log", None)
    first = partition.next_batch()
    snapshot = partition.snapshot()
    stop.set()
    with pytest.raises(StopIteration):
        partition.next_batch()
    resumed = RecordedSource({"log": records}, SETTINGS)
    rest = read_all(resumed.build_part("events", "log", snapshot))
    whole = read_all(RecordedSource({"log": records}, SETTINGS).build_part("events", "log", None))
    assert summary(first + rest) == summary(whole)
    assert resumed.resumed_events == 2


def test_the_records_before_a_damage_are_read_and_the_damage_is_kept() -> None:
    damage = SourceError("log.gz is damaged after line 1")

    def damaged() -> Iterator[Event]:
        yield view("a", 0)
        raise damage

    source = RecordedSource({"log": damaged}, SETTINGS)
    batches = summary(read_all(source.build_part("events", "log", None)))
    assert [batch.event_ids for batch in batches] == [["a"], []]
    assert source.failure is damage
