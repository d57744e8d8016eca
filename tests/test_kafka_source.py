"""Events out of a real Kafka: everything once, from where the run is told, on from where it was."""

from __future__ import annotations

import threading
import time
from datetime import timedelta
from typing import TYPE_CHECKING

import bytewax.operators as op
import msgspec
from bytewax.dataflow import Dataflow
from bytewax.recovery import RecoveryConfig, init_db_dir
from bytewax.testing import TestingSink, run_main
from kafka import KafkaProducer

from flows.kafka.source import KafkaSource
from state import config

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from state.messages import SourceBatch
    from tests.kafka_broker import KafkaBroker

NOW_MS = 1_790_000_000_000


def event(number: int, at_ms: int = NOW_MS) -> bytes:
    fields = {
        "event_id": str(number),
        "type": "page_view",
        "event_ts": at_ms,
        "anonymous_id": f"visitor-{number % 50}",
    }
    return msgspec.json.encode(fields)


def send(broker: KafkaBroker, topic: str, values: Iterable[bytes | None], **how: object) -> None:
    producer = KafkaProducer(bootstrap_servers=broker.address, linger_ms=5)
    for number, value in enumerate(values):
        producer.send(topic, value, key=str(number).encode(), **how)
    producer.flush()
    producer.close()


class Run:
    """Runs of one topic through a source, and what came out of them."""

    def __init__(self, broker: KafkaBroker, topic: str, folder: Path, **kafka: object) -> None:
        self.settings = config.load(
            overrides=(
                f"kafka.bootstrap_servers={broker.address}",
                f"kafka.topic={topic}",
                f"kafka.group={topic}",
                *(f"kafka.{key}={value}" for key, value in kafka.items()),
            ),
            environment={},
        )
        self.recovery = folder / "recovery"
        self.recovery.mkdir()
        init_db_dir(self.recovery, 1)
        self.batches: list[SourceBatch] = []

    @property
    def ids(self) -> list[int]:
        groups = (group for batch in self.batches for group in batch.groups)
        return sorted(int(event.event_id) for group in groups for event in group.events)

    def until(self, is_enough: Callable[[], bool], *, patience_s: float = 20) -> None:
        """Run until enough has come, then stop cleanly."""
        stop = threading.Event()
        gave_up: list[bool] = []

        def watch() -> None:
            end_s = time.monotonic() + patience_s
            while not is_enough() and not stop.is_set():
                if time.monotonic() > end_s:
                    gave_up.append(True)
                    break
                time.sleep(0.01)
            stop.set()

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            flow = Dataflow("test")
            batches = op.input("events", flow, KafkaSource(self.settings, stop))
            op.output("out", batches, TestingSink(self.batches))
            run_main(
                flow,
                epoch_interval=timedelta(milliseconds=100),
                recovery_config=RecoveryConfig(str(self.recovery)),
            )
        finally:
            stop.set()
            watcher.join()
        assert not gave_up, f"only {len(self.ids)} events came"


def test_every_record_comes_once_and_a_second_run_goes_on(
    kafka_broker: KafkaBroker, tmp_path: Path
) -> None:
    topic = kafka_broker.create_topic("once")
    send(kafka_broker, topic, map(event, range(20_000)))
    run = Run(kafka_broker, topic, tmp_path)
    run.until(lambda: len(run.ids) >= 20_000)
    assert run.ids == list(range(20_000))
    send(kafka_broker, topic, map(event, range(20_000, 20_010)))
    run.until(lambda: len(run.ids) >= 20_010)
    assert run.ids == list(range(20_010))
