"""A broker, a Redis and runs of `penstock` to measure: what the benchmarks of a live run share.

`python -m benchmarks.live_rig ADDRESS TOPIC RATE SECONDS FILE` sends events of a file at a steady rate.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from benchmarks.cores import Cores
from state import keys
from state.store import Store
from tests.installed import environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from flows.process.embedded_redis import EmbeddedRedis
    from tests.kafka_broker import KafkaBroker

PARTITIONS = 4
PROBE_EVERY_S = 0.05
LOOK_EVERY_S = 0.002
STUCK_S = 180.0
"""A part without progress fails after this time."""


class Rig:
    """The broker and the Redis of all parts."""

    def __init__(self, broker: KafkaBroker, redis: EmbeddedRedis, folder: Path) -> None:
        self.broker = broker
        self.redis = redis
        self.folder = folder
        self.store = Store(redis.url, timeout_ms=5000, patience_s=10)
        self.used = ""
        self._folders = 0

    def recovery(self) -> Path:
        """A recovery folder that is not there yet."""
        self._folders += 1
        return self.folder / f"recovery-{self._folders}"

    def events(self) -> int:
        """The number of events that the flow has read, as Redis has it."""
        return int(self.store.client.hget(keys.meta_key(), "events") or 0)

    def last_line(self) -> str:
        """The last line that a run printed."""
        lines = (self.folder / "run.log").read_text().splitlines()
        return lines[-1] if lines else "the run printed nothing"

    def filled_topic(self, lines: Sequence[bytes]) -> str:
        """A new topic with these events."""
        topic = self.broker.create_topic("live", PARTITIONS)
        producer = producing(self.broker.address)
        for line in lines:
            send(producer, topic, line, shopper_of(line))
        producer.flush()
        return topic

    @contextmanager
    def running(
        self,
        topic: str,
        *,
        processes: int = 1,
        recovery: Path | None = None,
        settings: Mapping[str, object] = MappingProxyType({}),
    ) -> Iterator[subprocess.Popen[bytes]]:
        """`penstock run` on a topic, ended at the end."""
        options = ["--set", f"kafka.bootstrap_servers={self.broker.address}"]
        options += ["--set", f"kafka.topic={topic}", "--set", f"kafka.group={topic}"]
        options += ["--set", 'metrics.listen=""']  # another run may have the port
        for key, value in settings.items():
            options += ["--set", f"{key}={value}"]
        if processes > 1:
            options += ["--processes", str(processes)]
            recovery = recovery or self.recovery()
        if recovery is not None:
            options += ["--recovery", str(recovery)]
        with self._process("run", *options) as process:
            yield process

    @contextmanager
    def _process(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        command = [sys.executable, "-m", "flows", *arguments, "--redis", self.redis.url]
        command += ["--dead-letters", str(self.folder / "dead_letters.jsonl")]
        with (self.folder / "run.log").open("ab") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment())
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def replay_rate(self, path: Path, events: int) -> float:
        """Events a second from a file."""
        self.store.client.flushall()
        with self._process("replay", str(path), "--format", "penstock") as process:
            return self.rate(events, process)

    def run_rate(
        self, topic: str, events: int, *, processes: int = 1, recovery: Path | None = None
    ) -> float:
        """Events a second from a topic."""
        self.store.client.flushall()
        with self.running(topic, processes=processes, recovery=recovery) as process:
            return self.rate(events, process)

    def rate(self, events: int, process: subprocess.Popen[bytes]) -> float:
        """Events a second, from a tenth of them on until all are there."""
        began: tuple[float, int, Cores] | None = None
        seen, progress_s = 0, time.perf_counter()
        while True:
            now_s, read = time.perf_counter(), self.events()
            if read > seen:
                seen, progress_s = read, now_s
            if began is None and read >= events / 10:
                began = now_s, read, Cores({"run": process.pid, **self.beside()})
            if began is not None and read >= events:
                if read == began[1]:
                    raise SystemExit(f"{events} events are too few to take a rate of")
                self.used = began[2].used()
                return (read - began[1]) / (now_s - began[0])
            if now_s - progress_s > STUCK_S or (process.poll() and read < events):
                raise SystemExit(f"{read} of {events} events, then nothing: {self.last_line()}")
            time.sleep(0.01)

    def beside(self) -> dict[str, int]:
        """The processes beside a run."""
        pids = {
            "broker": self.broker.pid,
            "redis": int(self.store.client.info("server")["process_id"]),
        }
        return {**pids, "benchmark": os.getpid()}


class Probes:
    """Events of shoppers who come once, and when their lists could be read."""

    def __init__(self, rig: Rig, topic: str) -> None:
        self._client = rig.store.client
        self._producer = producing(rig.broker.address, linger_ms=0)
        self._topic = topic
        self._sent: dict[str, float] = {}
        self._next_s = time.perf_counter()
        self._number = 0

    def step(self) -> list[tuple[float, float]]:
        """Send one if it is time, and look; (sent, seen) of those that became visible, in s."""
        now_s = time.perf_counter()
        if now_s >= self._next_s:
            self._next_s = now_s + PROBE_EVERY_S
            self._number += 1
            name = f"probe-{self._number}"
            at_ms = time.time_ns() // 1_000_000
            event = {"event_id": name, "type": "item_view", "event_ts": at_ms}
            event |= {"anonymous_id": name, "items": [{"item_id": "item-000007"}]}
            send(self._producer, self._topic, json.dumps(event).encode(), name.encode())
            self._sent[name] = now_s
        self._producer.poll(0)
        waiting = list(self._sent)
        pipeline = self._client.pipeline(transaction=False)
        for name in waiting:
            pipeline.exists(keys.top_key(name, "home"))
        there = pipeline.execute()
        seen_s = time.perf_counter()
        time.sleep(LOOK_EVERY_S)
        return [
            (self._sent.pop(name), seen_s)
            for name, is_there in zip(waiting, there, strict=True)
            if is_there
        ]

    def until(self, end_s: float) -> list[float]:
        """How long each took (s), of those sent from now on that are seen before a time."""
        self._sent.clear()
        took = []
        while time.perf_counter() < end_s:
            took += [seen_s - sent_s for sent_s, seen_s in self.step()]
        return took


def producing(address: str, linger_ms: int = 5) -> Producer:
    """A producer that takes little of the machine from what is measured.

    kafka-python's took half a core for 15,000 events/s.
    """
    return Producer(
        {
            "bootstrap.servers": address,
            "linger.ms": linger_ms,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 1_000_000,
        }
    )


def send(producer: Producer, topic: str, line: bytes, key: bytes) -> None:
    """Hand over an event; waits where too much is on its way."""
    while True:
        try:
            return producer.produce(topic, line, key)
        except BufferError:
            producer.poll(0.1)


def shopper_of(line: bytes) -> bytes:
    """What the events of a shopper have in common: the id behind their times."""
    return line.split(b'_id":"', 2)[2].split(b'"', 1)[0]


def feed(address: str, topic: str, rate: float, seconds: float, path: Path) -> None:
    """Send events of a file at a steady rate, as if they happened now."""
    producer, sent = producing(address), 0
    began_s = time.perf_counter()
    with path.open("rb") as lines:
        while (elapsed_s := time.perf_counter() - began_s) < seconds:
            now = str(time.time_ns() // 1_000_000).encode()
            for line in lines:
                at = line.index(b'"event_ts":') + 11
                arrived = line.index(b'"received_ts":') + 14
                line = line[:at] + now + line[at + 13 : arrived] + now + line[arrived + 13 :]
                send(producer, topic, line, shopper_of(line))
                sent += 1
                if sent >= rate * elapsed_s:
                    break
            else:
                raise SystemExit(f"{path} has too few events for {seconds} s at {rate}/s")
            producer.poll(0)
            time.sleep(0.005)
    producer.flush()


@contextmanager
def fed(
    rig: Rig, topic: str, rate: float, seconds: float, path: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """With `feed` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.live_rig", rig.broker.address, topic]
    process = subprocess.Popen([*command, str(rate), str(seconds), str(path)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    address, topic, per_second, seconds, path = sys.argv[1:]
    feed(address, topic, float(per_second), float(seconds), Path(path))
