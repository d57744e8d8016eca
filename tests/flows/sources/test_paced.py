"""The demo's source: history at full speed, a fixed rate, an empty batch when it is stopped."""

from __future__ import annotations

from threading import Event as Flag
from typing import TYPE_CHECKING

import pytest

from flows.sources.paced import PacedPartition
from state.config import Sessions, Settings, Source
from tests.streams import view

if TYPE_CHECKING:
    from state.messages import SourceBatch

SETTINGS = Settings(source=Source(batch_events=4), sessions=Sessions(shards=1))


def ids(batches: list[SourceBatch]) -> list[str]:
    return [event.event_id for batch in batches for event in batch.shard_inputs[0].events]


def test_history_comes_in_full_batches_then_events_at_the_rate() -> None:
    now_s, stop = [100.0], Flag()
    partition = PacedPartition(
        (view(number, number) for number in range(100)),
        SETTINGS,
        stop,
        history=6,
        events_per_s=10.0,
        clock=lambda: now_s[0],
    )
    batches = []
    for elapsed_s in (0.0, 0.0, 0.0, 0.2, 0.0, 9.0):
        now_s[0] += elapsed_s
        batches.append(ids(partition.next_batch()))
    assert batches == [
        ["0", "1", "2", "3"],  # history: a full batch
        ["4", "5"],  # the rest of history
        ["6"],  # at least one event a tick
        ["7"],  # 0.2 s later two are due, of which one came early
        ["8"],
        ["9", "10", "11", "12"],  # far behind the rate: at most a batch
    ]
    stop.set()
    (last,) = partition.next_batch()
    assert (ids([last]), last.shard_inputs[0].batch.last) == ([], True)
    with pytest.raises(StopIteration):
        partition.next_batch()
