"""What tests of live runs share: a shop's events in a topic, and `penstock run` as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

import msgspec
import orjson
from kafka import KafkaProducer

from operators.publish.digest import deterministic_rows
from operators.synthetic.traffic import generate_events
from state import keys
from state.store import Store
from tests.kafka_runs import committed
from tests.kafka_runs import event as kafka_event
from tests.streams import content

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.kafka_broker import AnyBroker

PATIENCE_S = 180
PARTITIONS = 3
LATE_MS = 1_767_225_600_000 + 86_400_000
"""A day after the shop opened: every visit is over."""


class Live:
    """A topic with a shop's events and runs of it, one after the other, into an empty Redis."""

    def __init__(self, broker: AnyBroker, topic: str, redis_url: str, folder: Path) -> None:
        self.broker = broker
        self.topic = broker.create_topic(topic, partitions=PARTITIONS)
        self.redis_url = redis_url
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self.sent = self.events = 0
        self.processes: list[subprocess.Popen[str]] = []
        self._shop = generate_events(events=100_000, shoppers=300, items=50, events_per_s=0.5)
        self._encode = msgspec.json.Encoder().encode

    def send(self, events: int) -> None:
        """Further events, those of a device in one partition."""
        producer = KafkaProducer(bootstrap_servers=self.broker.address, linger_ms=5)
        for _ in range(events):
            event = next(self._shop)
            key = (event.anonymous_id or event.user_id or "").encode()
            producer.send(self.topic, self._encode(event), key=key)
        producer.flush()
        producer.close()
        self.sent += events
        self.events += events

    def start(self, *more: str, recovery: str = "recovery", **settings: object) -> Process:
        """Start a run; settings as `kafka__start="latest"`."""
        chosen = {
            "kafka.bootstrap_servers": self.broker.address,
            "kafka.topic": self.topic,
            "kafka.group": self.topic,
            "source.batch_events": 200,
            "metrics.listen": "''",
            "log.level": "warning",
            "source.epoch_ms": 100,
        } | {name.replace("__", "."): value for name, value in settings.items()}
        process = Process(
            [
                "run",
                "--redis",
                self.redis_url,
                "--recovery",
                str(self.folder / recovery),
                "--dead-letters",
                str(self.folder / "dead-letters.jsonl"),
                *(word for name, value in chosen.items() for word in ("--set", f"{name}={value}")),
                *more,
            ]
        )
        self.processes.append(process.popen)
        return process

    def to_the_end(self, *more: str, **how: Any) -> dict[str, Any]:
        """Run until everything sent was counted and every session is over, stop, and give the facts."""
        run = self.start(*more, **how)
        run.until(self.caught_up)
        for _ in range(2):  # a batch says how far those before it had come
            self._send_late_visitors()
            run.until(self.caught_up)
        assert run.stop()[0] == 0
        return self.facts()

    def _send_late_visitors(self) -> None:
        producer = KafkaProducer(bootstrap_servers=self.broker.address)
        for partition in range(PARTITIONS):
            self.sent += 1
            event = kafka_event(self.sent, LATE_MS)
            producer.send(self.topic, event, partition=partition)
        producer.flush()
        producer.close()

    def empty_redis(self) -> None:
        """Lose all that Redis holds."""
        store = Store(self.redis_url, timeout_ms=2000, patience_s=2)
        store.client.flushall()
        store.close()

    def meta(self) -> dict[str, Any]:
        """The counters in Redis."""
        store = Store(self.redis_url, timeout_ms=2000, patience_s=2)
        found = store.client.hgetall(keys.meta_key())
        store.close()
        figures = {}
        for name, value in found.items():
            with suppress(orjson.JSONDecodeError):
                figures[name.decode()] = orjson.loads(value)
        return figures

    def facts(self) -> dict[str, Any]:
        """What of Redis depends on the events alone."""
        return dict(deterministic_rows(content(self.redis_url).items()))

    def caught_up(self) -> bool:
        """Whether everything sent was counted."""
        return self.has_counted(self.sent)

    def has_counted(self, events: int) -> bool:
        """Whether so many events were counted."""
        return bool(self.meta().get("events", 0) >= events)

    def committed(self) -> int:
        """How many records the group has committed."""
        found = committed(self.broker, self.topic, self.topic, PARTITIONS)
        return sum(offset or 0 for offset in found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill what is left."""
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()


def undisturbed(live: Live) -> dict[str, Any]:
    """The facts that the same events come to in one run of one process, in a topic of its own."""
    live.empty_redis()
    with Live(live.broker, "undisturbed", live.redis_url, live.folder / "undisturbed") as other:
        other.send(live.events)
        return other.to_the_end()


class Process:
    """A run as a process; in a process group of its own, as a terminal has it."""

    def __init__(self, words: list[str]) -> None:
        self.popen = subprocess.Popen(
            [sys.executable, "-m", "flows", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a condition while the run is live."""
        until_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert self.popen.poll() is None, self.popen.communicate()[0]
            assert time.monotonic() < until_s, self.kill()
            time.sleep(0.02)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        """Ask it to stop; returns the exit code and the log."""
        self.popen.send_signal(how)
        return self.ended()

    def ended(self) -> tuple[int, str]:
        """Wait for its end; returns the exit code and the log."""
        said, _ = self.popen.communicate(timeout=PATIENCE_S)
        return self.popen.returncode, said

    def workers(self) -> list[int]:
        """The ids of the worker processes of a supervisor, without the backup process."""
        found = subprocess.run(
            ["ps", "-o", "pid=,args=", "--ppid", str(self.popen.pid)],
            capture_output=True,
            text=True,
            check=False,
        )
        lines = [line.split(None, 1) for line in found.stdout.splitlines()]
        return [int(pid) for pid, words in lines if " run " in words]

    def kill(self) -> str:
        """kill -9."""
        with suppress(ProcessLookupError):
            os.killpg(self.popen.pid, signal.SIGKILL)
        return self.popen.communicate()[0]
