"""Helpers of source tests: events in a topic, and runs that read them."""

from __future__ import annotations

import threading
import time
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main
from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from flows.kafka.source import KafkaSource
from flows.kafka.stored_partitions import stored_partitions
from state import config_loader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from state.dead_letters import DeadLetter
    from state.messages import SourceBatch
    from tests.kafka_broker import AnyBroker

NOW_MS = 1_790_000_000_000
PATIENCE_S = 120


def event(number: int, at_ms: int = NOW_MS) -> bytes:
    """A page view with this id."""
    fields = {
        "event_id": str(number),
        "type": "page_view",
        "event_ts": at_ms,
        "anonymous_id": f"visitor-{number % 50}",
    }
    return msgspec.json.encode(fields)


def send(broker: AnyBroker, topic: str, values: Iterable[bytes | None], **how: object) -> None:
    """Records into a topic, with `compression_type` for the client, the rest for each record."""
    client = {"compression_type": how.pop("compression_type", None)}
    producer = KafkaProducer(bootstrap_servers=broker.address, linger_ms=5, **client)
    for number, value in enumerate(values):
        producer.send(topic, value, key=str(number).encode(), **how)
    producer.flush()
    producer.close()


def committed(broker: AnyBroker, group: str, topic: str, partitions: int) -> list[int | None]:
    """What a group has committed of each partition."""
    client = KafkaConsumer(bootstrap_servers=broker.address, group_id=group)
    with closing(client):
        return [client.committed(TopicPartition(topic, n)) for n in range(partitions)]


class Run:
    """Consecutive runs of one topic through a source, and their output."""

    def __init__(self, broker: AnyBroker, topic: str, folder: Path, **kafka: object) -> None:
        self.settings = config_loader.load(
            overrides=(
                f"kafka.bootstrap_servers={broker.address}",
                f"kafka.topic={topic}",
                f"kafka.group={topic}",
                *(f"kafka.{key}={value}" for key, value in kafka.items()),
            ),
            environment={},
        )
        self.recovery = folder / "recovery"
        self.recovery.mkdir(exist_ok=True)
        if not list(self.recovery.iterdir()):
            init_db_dir(self.recovery, 1)
        self.batches: list[SourceBatch] = []
        self.stop = threading.Event()
        self.source: KafkaSource | None = None

    @property
    def ids(self) -> list[int]:
        """The ids of the events read, in order."""
        groups = (group for batch in self.batches for group in batch.shard_inputs)
        return sorted(int(event.event_id) for group in groups for event in group.events)

    @property
    def letters(self) -> list[DeadLetter]:
        """The dead letters of the runs."""
        return [letter for batch in self.batches for letter in batch.rejected]

    def until(self, is_enough: Callable[[], bool]) -> KafkaSource:
        """Run until enough has come or the source ends by itself, then stop cleanly."""
        stop = self.stop = threading.Event()
        gave_up: list[bool] = []

        def watch() -> None:
            end_s = time.monotonic() + PATIENCE_S
            try:
                while not stop.is_set() and not is_enough():
                    if time.monotonic() > end_s:
                        gave_up.append(True)
                        break
                    time.sleep(0.01)
            finally:
                stop.set()

        stored = stored_partitions(self.recovery, "test.events")
        source = self.source = KafkaSource(self.settings, stop, known_partitions=stored)
        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            flow = Dataflow("test")
            batches = op.input("events", flow, source)
            op.output("out", batches, TestingSink(self.batches))
            run_main(
                flow,
                epoch_interval=timedelta(milliseconds=100),
                recovery_config=RecoveryConfig(str(self.recovery)),
            )
        finally:
            stop.set()
            watcher.join()
            source.close()
        assert not gave_up, f"only {len(self.ids)} events came"
        source.commit_final_offsets()
        return source
