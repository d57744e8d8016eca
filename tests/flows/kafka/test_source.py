"""Events from a real Kafka: each once, from the configured start, resumed at the stored offset."""

from __future__ import annotations

import pickle
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from bytewax.errors import BytewaxRuntimeError
from kafka import TopicPartition

from flows.kafka.broker_monitor import BrokerMonitor
from flows.kafka.source import KafkaSource
from flows.sources.live_connection import partition_name
from operators.shards.watermark import Watermark
from state.errors import SourceError, UserError
from state.snapshots import SOURCE_CODEC
from tests.kafka_runs import NOW_MS, Run, committed, event, send

if TYPE_CHECKING:
    from pathlib import Path

    from state.messages import SourceBatch
    from tests.kafka_broker import AnyBroker, KafkaBroker


def said(error: BaseException) -> str:
    """The text of the UserError that caused an error of Bytewax."""
    behind: BaseException | None = error
    while behind is not None and not isinstance(behind, UserError):
        behind = behind.__cause__ or behind.__context__
    return str(behind)


def test_every_record_is_read_once_and_a_second_run_resumes(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("once")
    send(kafka_broker, topic, map(event, range(20_000)))
    run = Run(kafka_broker, topic, tmp_path)
    run.until(lambda: len(run.ids) >= 20_000)
    assert run.ids == list(range(20_000))
    send(kafka_broker, topic, map(event, range(20_000, 20_010)))
    run.until(lambda: len(run.ids) >= 20_010)
    assert run.ids == list(range(20_010))


def test_a_clean_stop_commits_the_offsets_of_the_snapshots(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("lag", partitions=2)
    send(kafka_broker, topic, map(event, range(100)))
    run = Run(kafka_broker, topic, tmp_path)
    source = run.until(lambda: len(run.ids) >= 100)
    offsets = committed(kafka_broker, topic, topic, 2)
    assert sum(offset or 0 for offset in offsets) == 100
    assert dict(enumerate(offsets)) == {
        one.partition: n for one, n in source.snapshot_offsets.items()
    }


def test_the_lag_counts_unread_records(kafka_broker: AnyBroker, tmp_path: Path) -> None:
    topic = kafka_broker.create_topic("waits", partitions=1)
    run = Run(kafka_broker, topic, tmp_path)
    send(kafka_broker, topic, map(event, range(10)))
    seen: list[dict[str, int]] = []

    def is_seen() -> bool:
        if run.source is not None and run.source.lag:
            seen.append(run.source.lag)
        return bool(seen)

    run.until(is_seen)
    assert seen[0] == {f"0-{topic}": 0}


def test_an_offset_is_committed_when_the_recovery_store_holds_it(
    kafka_broker: AnyBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka_broker.create_topic("covered", partitions=2)
    run = Run(kafka_broker, topic, tmp_path)
    ahead: list[tuple[int, int]] = []
    commits: list[int] = []

    def stored(partition: TopicPartition) -> int:
        with closing(sqlite3.connect(run.recovery / "part-0.sqlite3")) as database:
            found = database.execute(
                "SELECT ser_change FROM snaps WHERE state_key = ? AND snap_epoch < "
                "(SELECT max(worker_frontier) FROM fronts) ORDER BY snap_epoch DESC LIMIT 1",
                (partition_name(partition),),
            ).fetchone()
        return SOURCE_CODEC.decode(pickle.loads(found[0])).offset if found else -1

    def commit(self: BrokerMonitor, partition: TopicPartition, offset: int) -> None:
        commits.append(offset)
        if stored(partition) < offset:
            ahead.append((stored(partition), offset))

    monkeypatch.setattr(BrokerMonitor, "schedule_commit", commit)
    for first in range(0, 2000, 1000):
        send(kafka_broker, topic, map(event, range(first, first + 1000)))
        commits.clear()
        run.until(lambda: len(commits) > 10)
    assert ahead == []


@pytest.mark.parametrize(("start", "first"), [("earliest", 0), ("latest", 20), ("time", 10)])
def test_the_first_run_starts_where_the_configuration_says(
    kafka_broker: AnyBroker, tmp_path: Path, start: str, first: int
) -> None:
    topic = kafka_broker.create_topic("start", partitions=1, retention_ms="-1")
    for tens, at_ms in enumerate((1_600_000_000_000, 1_700_000_000_000)):
        events = (event(number, at_ms) for number in range(10 * tens, 10 * tens + 10))
        send(kafka_broker, topic, events, timestamp_ms=at_ms)
    if start == "time":
        start = datetime.fromtimestamp(1_650_000_000, UTC).isoformat()
    run = Run(kafka_broker, topic, tmp_path, start=start)
    # Without an event, the place is in the first snapshot.
    run.until(
        lambda: len(run.ids) >= 20 - first and bool(run.source and run.source.snapshot_offsets)
    )
    send(kafka_broker, topic, map(event, range(20, 30)))
    run.until(lambda: len(run.ids) >= 30 - first)
    assert run.ids == list(range(first, 30))


def test_a_time_beyond_the_newest_record_is_the_end(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("beyond", partitions=1, retention_ms="-1")
    send(kafka_broker, topic, map(event, range(10)), timestamp_ms=1_600_000_000_000)
    run = Run(kafka_broker, topic, tmp_path, start="2026-01-01")
    source = run.until(lambda: bool(run.source and run.source.snapshot_offsets))
    assert list(source.snapshot_offsets.values()) == [10]


def test_a_first_run_may_start_at_the_committed_offsets(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("group", partitions=1)
    send(kafka_broker, topic, map(event, range(10)))
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    run = Run(kafka_broker, topic, tmp_path / "one", start="group")
    run.until(lambda: len(run.ids) >= 10)
    send(kafka_broker, topic, map(event, range(10, 15)))
    run = Run(kafka_broker, topic, tmp_path / "two", start="group")
    run.until(lambda: len(run.ids) >= 5)
    assert run.ids == list(range(10, 15))


def test_a_record_that_is_no_event_is_a_dead_letter_with_its_offset(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("letters", partitions=1)
    send(kafka_broker, topic, [event(1), None, b"", event(2) + b"\n" + event(3), b"\xff", event(4)])
    run = Run(kafka_broker, topic, tmp_path)
    run.until(lambda: len(run.ids) >= 2)
    assert run.ids == [1, 4]
    assert [(one.source, one.partition, one.offset) for one in run.letters] == [
        (topic, "0", offset) for offset in (1, 2, 3, 4)
    ]


def test_an_idle_partition_does_not_hold_the_watermark_back(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("idle", partitions=2)
    run = Run(kafka_broker, topic, tmp_path, idle_ms=300)
    watermark = Watermark({})
    seen: list[int] = []

    def reached_ms() -> int:
        seen.extend(watermark.update(one.shard_inputs[0].batch) for one in run.batches[len(seen) :])
        return max(seen, default=0)

    send(kafka_broker, topic, [event(1, NOW_MS)], partition=0)
    lateness_ms = run.settings.sessions.allowed_lateness_ms
    run.until(lambda: reached_ms() >= NOW_MS - lateness_ms)
    assert not any(
        batch.shard_inputs[0].batch.idle for batch in run.batches if batch.shard_inputs[0].events
    )
    assert seen == sorted(seen)


def test_the_watermark_of_the_last_records_is_emitted_after_a_pause(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("quiet", partitions=1)
    run = Run(kafka_broker, topic, tmp_path, idle_ms=3_600_000)
    send(kafka_broker, topic, [event(1, NOW_MS)])
    reached_ms = NOW_MS - run.settings.sessions.allowed_lateness_ms

    def told() -> list[SourceBatch]:
        return [one for one in run.batches if one.shard_inputs[0].batch.watermark_ms == reached_ms]

    run.until(lambda: bool(told()))
    # A machine that is held up between two polls may see the pause twice.
    assert not any(one.shard_inputs[0].batch.idle for one in told())


def test_event_time_advances_while_all_partitions_are_idle_and_is_not_stored(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("night", partitions=1)
    run = Run(kafka_broker, topic, tmp_path, idle_ms=200)
    send(kafka_broker, topic, [event(1, NOW_MS)])
    own_ms = NOW_MS - run.settings.sessions.allowed_lateness_ms

    def heard_ms() -> list[int]:
        return [batch.shard_inputs[0].batch.watermark_ms for batch in run.batches]

    run.until(lambda: max(heard_ms(), default=0) >= own_ms + 400)
    before = len(run.batches)
    send(kafka_broker, topic, [event(2, NOW_MS)])
    run.until(lambda: len(run.ids) >= 2)
    assert heard_ms()[before] == own_ms


@pytest.mark.parametrize("compression", [None, "gzip", "snappy", "lz4", "zstd"])
def test_every_compression_is_read(
    kafka_broker: AnyBroker, tmp_path: Path, compression: str | None
) -> None:
    topic = kafka_broker.create_topic("packed", partitions=1)
    send(kafka_broker, topic, map(event, range(100)), compression_type=compression)
    run = Run(kafka_broker, topic, tmp_path)
    run.until(lambda: len(run.ids) >= 100)
    assert run.ids == list(range(100))


def test_a_deleted_offset_ends_the_run_with_advice(kafka_broker: AnyBroker, tmp_path: Path) -> None:
    topic = kafka_broker.create_topic("deleted", partitions=1)
    send(kafka_broker, topic, map(event, range(10)))
    run = Run(kafka_broker, topic, tmp_path)
    run.until(lambda: len(run.ids) >= 10)
    send(kafka_broker, topic, map(event, range(10, 20)))
    with closing(kafka_broker.admin()) as admin:
        admin.delete_records({TopicPartition(topic, 0): 15})
    with pytest.raises(BytewaxRuntimeError) as raised:
        run.until(lambda: len(run.ids) >= 20)
    assert f"partition 0 of topic {topic} has offsets 15 to 20, not 10" in said(raised.value)
    assert "kafka.out_of_range=earliest" in said(raised.value)
    run = Run(kafka_broker, topic, tmp_path, out_of_range="earliest")
    run.until(lambda: len(run.ids) >= 5)
    assert run.ids == [15, 16, 17, 18, 19]


def test_a_recreated_topic_ends_the_run_even_if_it_is_longer_than_the_stored_offset(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("grown", partitions=1)
    send(kafka_broker, topic, map(event, range(10)))
    run = Run(kafka_broker, topic, tmp_path)
    run.until(lambda: len(run.ids) >= 10)
    with closing(kafka_broker.admin()) as admin:
        admin.delete_topics([topic])
        time.sleep(0.5)
        admin.create_topics(
            {topic: {"num_partitions": 1, "replication_factor": 1}}, wait_for_metadata=True
        )
    send(kafka_broker, topic, map(event, range(100, 120)))
    with pytest.raises(BytewaxRuntimeError) as raised:
        run.until(lambda: False)
    assert f"topic {topic} was deleted and recreated since this run read it" in said(raised.value)
    assert "kafka.out_of_range=earliest" in said(raised.value)
    run = Run(kafka_broker, topic, tmp_path, out_of_range="earliest")
    run.until(lambda: len(run.ids) >= 20)
    assert run.ids == list(range(100, 120))
    run = Run(kafka_broker, topic, tmp_path)
    send(kafka_broker, topic, [event(120)])
    run.until(lambda: len(run.ids) >= 1)
    assert run.ids == [120], "from then on that topic is the one that was read"


def test_a_new_partition_ends_the_run_and_the_next_run_reads_all_of_it(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("grown", partitions=1)
    run = Run(kafka_broker, topic, tmp_path, refresh_s=1, start="latest")
    is_grown = False

    def grow() -> bool:
        nonlocal is_grown
        if not is_grown and run.source is not None and run.source.snapshot_offsets:
            with closing(kafka_broker.admin()) as admin:
                admin.create_partitions({topic: 2})
            send(kafka_broker, topic, map(event, range(10)), partition=1)
            is_grown = True
        return False

    assert run.until(grow).has_more_partitions
    run.until(lambda: len(run.ids) >= 10)
    assert run.ids == list(range(10))


def test_a_missing_partition_is_refused_before_the_run(
    kafka_broker: AnyBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("gone", partitions=1)
    run = Run(kafka_broker, topic, tmp_path)
    source = KafkaSource(run.settings, run.stop, known_partitions={f"0-{topic}", f"1-{topic}"})
    with pytest.raises(SourceError, match=rf"does not have: 1-{topic}:"):
        source.list_parts()
    source.close()


def test_a_missing_topic_is_a_clear_error(kafka_broker: AnyBroker, tmp_path: Path) -> None:
    run = Run(kafka_broker, "penstock-nowhere", tmp_path)
    with pytest.raises(SourceError, match="has no topic penstock-nowhere: create it"):
        KafkaSource(run.settings, run.stop).list_parts()


@pytest.mark.slow
def test_a_run_waits_for_a_killed_broker(
    killable_kafka_broker: KafkaBroker, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broker = killable_kafka_broker
    topic = broker.create_topic("killed", partitions=2)
    send(broker, topic, map(event, range(1000)))
    run = Run(broker, topic, tmp_path)
    step = 0

    def play() -> bool:
        nonlocal step
        if step == 0 and len(run.ids) >= 1000:
            broker.kill()
            step = 1
        if step == 1 and run.source is not None and not run.source.is_reachable:
            broker.start()
            send(broker, topic, map(event, range(1000, 2000)))
            step = 2
        return len(run.ids) >= 2000 and run.source is not None and run.source.is_reachable

    run.until(play)
    assert run.ids == list(range(2000))
    told = [one.getMessage().split(": ")[0] for one in caplog.records if "penstock" in one.name]
    where = f"Kafka at {broker.address}"
    assert told == [f"{where} does not answer", f"{where} is back"]
