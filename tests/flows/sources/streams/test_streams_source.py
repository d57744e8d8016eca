"""The event streams as a source: every entry once and in order, offsets that resume, lag, trimming."""

from __future__ import annotations

import json
import threading
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from flows.sources.streams.monitor import StreamMonitor
from flows.sources.streams.offsets import entry_id_of, offset_of
from flows.sources.streams.source import StreamsSource
from state import keys
from state.config import Settings, Source
from state.config_deployment import Collector, Recovery
from state.errors import SourceError
from state.store import ENTRY_FIELD, Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from threading import Event as Flag

    from flows.sources.live_partition import LivePartition
    from state.messages import SourceBatch

PARTITIONS = 2
PATIENCE_S = 30


def settings(**sections: Any) -> Settings:
    chosen = {"collector": Collector(partitions=PARTITIONS), "source": Source(batch_events=10)}
    return Settings(**{**chosen, **sections})


def connect(url: str) -> Store:
    return Store(url, timeout_ms=5000, patience_s=0)


def source_of(url: str, stop: Flag | None = None, **sections: Any) -> StreamsSource:
    return StreamsSource(settings(**sections), stop or threading.Event(), partial(connect, url))


def event(number: int) -> bytes:
    at_ms = 1_790_000_000_000 + number
    fields = {"event_id": str(number), "type": "page_view", "event_ts": at_ms, "anonymous_id": "a"}
    return json.dumps(fields).encode()


def append(url: str, numbers: range, partition: int = 0) -> None:
    client = connect(url).client
    for number in numbers:
        client.xadd(keys.events_key(partition), {ENTRY_FIELD: event(number)})


def ids_in(batches: list[SourceBatch]) -> list[str]:
    """The ids of the events read, in order. Shards have them in the order of positions."""
    placed = [
        (position, one.event_id)
        for batch in batches
        for shard in batch.shard_inputs
        for position, one in zip(shard.positions, shard.events, strict=True)
    ]
    return [name for _, name in sorted(placed)]


def read_until(part: LivePartition, count: int) -> list[str]:
    found: list[str] = []

    def has_all() -> bool:
        found.extend(ids_in(part.next_batch()))
        return len(found) >= count

    wait_until(has_all)
    return found


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def names(first: int, end: int) -> list[str]:
    return [str(number) for number in range(first, end)]


def test_every_entry_comes_once_and_in_order_in_batches(redis_url: str) -> None:
    append(redis_url, range(25))
    source = source_of(redis_url)
    assert source.list_parts() == ["0-redis-events", "1-redis-events"]
    part = source.build_part("events", "0-redis-events", None)
    assert read_until(part, 25) == names(0, 25)
    append(redis_url, range(25, 30))
    assert read_until(part, 5) == names(25, 30)
    part.close()


def test_a_snapshot_resumes_after_the_last_record_it_has(redis_url: str) -> None:
    append(redis_url, range(15))
    first = source_of(redis_url)
    first.list_parts()
    part = first.build_part("events", "0-redis-events", None)
    assert ids_in(part.next_batch()) == names(0, 10)
    state = part.snapshot()
    part.close()
    second = source_of(redis_url)
    second.known_partitions = {"0-redis-events"}
    second.list_parts()
    again = second.build_part("events", "0-redis-events", state)
    assert read_until(again, 5) == names(10, 15)
    again.close()


def test_more_partitions_in_a_snapshot_than_configured_are_read_too(redis_url: str) -> None:
    source = source_of(redis_url)
    source.known_partitions = {"3-redis-events"}
    assert source.list_parts() == ["0-redis-events", "1-redis-events", "3-redis-events"]
    source.close()


def test_a_recovery_folder_of_kafka_is_refused(redis_url: str) -> None:
    source = source_of(redis_url)
    source.known_partitions = {"0-shop-events"}
    with pytest.raises(SourceError, match="0-shop-events: run it with --source kafka"):
        source.list_parts()


def test_an_entry_that_is_no_event_is_a_dead_letter_with_its_id(redis_url: str) -> None:
    client = connect(redis_url).client
    entry_id = client.xadd(keys.events_key(1), {ENTRY_FIELD: b"{not json"})
    other_id = client.xadd(keys.events_key(1), {"colour": "red"})
    source = source_of(redis_url)
    source.list_parts()
    part = source.build_part("events", "1-redis-events", None)
    letters = [letter for batch in part.next_batch() for letter in batch.rejected]
    assert [(one.failure_type, one.source, one.partition, one.offset) for one in letters] == [
        ("not_json", "redis-events", "1", offset_of(entry_id)),
        ("not_json", "redis-events", "1", offset_of(other_id)),
    ]
    part.close()


def test_the_lag_is_what_was_not_read(redis_url: str) -> None:
    append(redis_url, range(34))
    source = source_of(redis_url)
    source.list_parts()
    part = source.build_part("events", "0-redis-events", None)
    wait_until(lambda: source.lag == {"0-redis-events": 34})
    part.next_batch()
    # The first read has queued as many as a batch has; those count as read.
    wait_until(lambda: source.lag == {"0-redis-events": 24})
    read_until(part, 24)
    wait_until(lambda: source.lag == {"0-redis-events": 0})
    part.close()


def test_a_stream_that_began_anew_is_read_from_its_beginning(redis_url: str) -> None:
    client = connect(redis_url).client
    now_ms = time.time_ns() // 1_000_000
    client.xadd(keys.events_key(0), {ENTRY_FIELD: event(1)}, id=f"{now_ms}-0")
    source = source_of(redis_url)
    source.list_parts()
    part = source.build_part("events", "0-redis-events", None)
    part.next_batch()
    state = part.snapshot()
    part.close()
    client.delete(keys.events_key(0))
    client.xadd(keys.events_key(0), {ENTRY_FIELD: event(2)}, id=f"{now_ms - 60_000}-0")
    again = source_of(redis_url)
    again.list_parts()
    part = again.build_part("events", "0-redis-events", state)
    assert read_until(part, 1) == ["2"]
    part.close()


def test_entries_are_trimmed_once_snapshot_and_backup_have_them(redis_url: str) -> None:
    client = connect(redis_url).client
    now_ms = time.time_ns() // 1_000_000
    for age_s in (9000, 8000, 100, 50):
        client.xadd(
            keys.events_key(0), {ENTRY_FIELD: event(age_s)}, id=f"{now_ms - age_s * 1000}-0"
        )
    source = source_of(redis_url, recovery=Recovery(checkpoint_s=300))
    (partition, _) = source.open_connection().partitions
    monitor = StreamMonitor(connect(redis_url), {partition: 0}, checkpoint_s=300)
    monitor.start_at(partition, 0)
    monitor.schedule_commit(partition, offset_of(f"{now_ms - 50_000}-0".encode()))
    monitor._trim()
    kept = [entry_id for entry_id, _ in client.xrange(keys.events_key(0))]
    assert kept == [f"{now_ms - age_s * 1000}-0".encode() for age_s in (100, 50)]
    monitor.close()


def test_offsets_grow_as_ids_do() -> None:
    ids = [b"1-0", b"1-1", b"2-0", b"1795262400000-0", b"1795262400000-42"]
    offsets = [offset_of(one) for one in ids]
    assert offsets == sorted(set(offsets))
    assert [entry_id_of(offset).encode() for offset in offsets] == ids
