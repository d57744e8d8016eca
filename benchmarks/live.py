"""How fast, how fresh and how soon back is the live path, with a real broker and Redis beside it?

`python -m benchmarks.live` prints, each part by itself with `--part NAME`:

- rate        Kafka to Redis with one process, a topic of four partitions filled beforehand, over the
              rate of replaying the same events from a file; and two processes over one
- freshness   of an event sent to its shopper's list in Redis, at half of the highest rate
- restart     from kill -9 until events are fresh again, with many shoppers in the recovery folder
- snapshots   the rate with a recovery folder over the rate without

Rates leave out the start: from a tenth of the events on, as `ps:1:meta` counts them. Each pair of
figures is of runs right after each other, `--rounds` times, and the middle ratio counts. Freshness is
that of probes: events of shoppers who come once, sent every 50 ms among the paced ones, and their
lists looked for every 2 ms. `--processes 2` runs freshness and restart in two. Two processes keep
snapshots, as they must, and so does one where it is held against two. Behind each rate stands how many
cores every process used meanwhile, and everybody else. A part ends with what was asked and what came.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from confluent_kafka import Producer

from benchmarks.cores import Cores
from benchmarks.workload import Workload, cached
from flows.process.embedded_redis import EmbeddedRedis
from state import keys
from state.store import Store
from tests.installed import environment
from tests.kafka_broker import KafkaBroker

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PARTITIONS = 4
PROBE_EVERY_S = 0.05
LOOK_EVERY_S = 0.002
FRESH_S = 1.0
"""A run has caught up when an event is visible within this time."""
STUCK_S = 180.0
"""Without progress for so long a part fails."""


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
        """How many events Redis has heard of."""
        return int(self.store.client.hget(keys.meta_key(), "events") or 0)

    def said(self) -> str:
        """The last that a run said."""
        lines = (self.folder / "run.log").read_text().splitlines()
        return lines[-1] if lines else "the run said nothing"

    def filled(self, lines: Sequence[bytes]) -> str:
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
            return self._rate(events, process)

    def run_rate(
        self, topic: str, events: int, *, processes: int = 1, recovery: Path | None = None
    ) -> float:
        """Events a second from a topic."""
        self.store.client.flushall()
        with self.running(topic, processes=processes, recovery=recovery) as process:
            return self._rate(events, process)

    def _rate(self, events: int, process: subprocess.Popen[bytes]) -> float:
        """Events a second, from a tenth of them on until all are there."""
        began: tuple[float, int, Cores] | None = None
        seen, progress_s = 0, time.perf_counter()
        while True:
            now_s, heard = time.perf_counter(), self.events()
            if heard > seen:
                seen, progress_s = heard, now_s
            if began is None and heard >= events / 10:
                began = now_s, heard, Cores({"run": process.pid, **self.beside()})
            if began is not None and heard >= events:
                if heard == began[1]:
                    raise SystemExit(f"{events} events are too few to take a rate of")
                self.used = began[2].used()
                return (heard - began[1]) / (now_s - began[0])
            if now_s - progress_s > STUCK_S or (process.poll() and heard < events):
                raise SystemExit(f"{heard} of {events} events, then nothing: {self.said()}")
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
    command = [sys.executable, "-m", "benchmarks.live", "--feed", rig.broker.address, topic]
    process = subprocess.Popen([*command, str(rate), str(seconds), str(path)])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def rate(rig: Rig, path: Path, asked: argparse.Namespace) -> None:
    """Kafka against the file, two processes against one."""
    lines = lines_of(path, asked.events)
    part = rig.folder / "part.jsonl"
    part.write_bytes(b"".join(lines))
    topic = rig.filled(lines)
    rows = []
    for _ in range(asked.rounds):
        replay = told(rig, "replay", rig.replay_rate(part, len(lines)))
        live = told(rig, "kafka", rig.run_rate(topic, len(lines)))
        one = told(rig, "one_process", rig.run_rate(topic, len(lines), recovery=rig.recovery()))
        two = told(rig, "two_processes", rig.run_rate(topic, len(lines), processes=2))
        rows.append((live / replay, two / one))
    verdict("kafka_over_file", "at least", 0.7, statistics.median(row[0] for row in rows))
    verdict("two_over_one", "at least", 1.5, statistics.median(row[1] for row in rows))


def freshness(rig: Rig, path: Path, asked: argparse.Namespace) -> None:
    """Probes among paced events."""
    lines = lines_of(path, asked.events)
    topic = rig.filled(lines)
    half = rig.run_rate(topic, len(lines), processes=asked.processes, recovery=rig.recovery()) / 2
    rig.store.client.flushall()
    topic = rig.filled([])
    seconds = asked.seconds + 30
    with (
        rig.running(topic, processes=asked.processes, recovery=rig.recovery()) as process,
        fed(rig, topic, half, seconds, path) as feeder,
    ):
        probes = Probes(rig, topic)
        caught_up(probes)  # with what came while it started
        warm_s = time.perf_counter() + 5
        probes.until(warm_s)
        spent = Cores({"run": process.pid, "feeder": feeder.pid, **rig.beside()})
        took = sorted(probes.until(warm_s + asked.seconds))
        cores = spent.used()
    if len(took) < 20:
        raise SystemExit(f"only {len(took)} probes came through: {rig.said()}")
    print(f"rate={half:,.0f} probes={len(took)} max_ms={1000 * took[-1]:.0f} {cores}")
    verdict("freshness_p50_ms", "at most", 60, 1000 * took[len(took) // 2])
    verdict("freshness_p99_ms", "at most", 400, 1000 * took[int(len(took) * 0.99)])


def restart(rig: Rig, path: Path, asked: argparse.Namespace) -> None:
    """Kill -9 amid paced events, until a probe is fresh again."""
    visits = Workload(events=3 * asked.shoppers, shoppers=asked.shoppers)
    lines = lines_of(cached(visits), visits.events)
    topic, folder = rig.filled(lines), rig.recovery()
    processes = asked.processes
    half = rig.run_rate(topic, len(lines), processes=processes, recovery=folder) / 2
    with fed(rig, topic, half, 120, path):
        with rig.running(topic, processes=processes, recovery=folder) as process:
            probes = Probes(rig, topic)
            caught_up(probes)
            probes.until(time.perf_counter() + 5)
            killed_s = time.perf_counter()
            process.kill()
        with rig.running(topic, processes=processes, recovery=folder):
            back_s = caught_up(probes) - killed_s
    print(f"shoppers={asked.shoppers:,} rate={half:,.0f}")
    verdict("caught_up_s", "at most", 15, back_s)


def caught_up(probes: Probes) -> float:
    """When the first event that was sent from now on was visible within `FRESH_S`."""
    began_s = time.perf_counter()
    while time.perf_counter() - began_s < STUCK_S:
        for sent_s, seen_s in probes.step():
            if sent_s > began_s and seen_s - sent_s < FRESH_S:
                return seen_s
    raise SystemExit("the run did not catch up")


def snapshots(rig: Rig, path: Path, asked: argparse.Namespace) -> None:
    """With a recovery folder and without."""
    lines = lines_of(path, 2 * asked.events)
    topic, ratios = rig.filled(lines), []
    for _ in range(asked.rounds):
        without = told(rig, "without", rig.run_rate(topic, len(lines)))
        stored = rig.run_rate(topic, len(lines), recovery=rig.recovery())
        ratios.append(told(rig, "with_snapshots", stored) / without)
    verdict("snapshots_cost", "at most", 0.1, 1 - statistics.median(ratios))


def told(rig: Rig, name: str, rate: float) -> float:
    """Print a rate and what the machine did meanwhile."""
    print(f"{name}={rate:,.0f}/s cores: {rig.used}", flush=True)
    return rate


def verdict(name: str, bound: str, asked: float, got: float) -> None:
    """Print what was asked, what came, and whether that is enough."""
    is_reached = got >= asked if bound == "at least" else got <= asked
    print(
        f"{name}: asked {bound} {asked:g}, got {got:.3g}: {'reached' if is_reached else 'MISSED'}"
    )


def lines_of(path: Path, events: int) -> list[bytes]:
    """The first events of a file."""
    with path.open("rb") as file:
        return [line for _, line in zip(range(events), file, strict=False)]


PARTS = {"rate": rate, "freshness": freshness, "restart": restart, "snapshots": snapshots}


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("--part", choices=PARTS, action="append", help="only this one; may be given again")
    add("--events", type=int, default=200_000, help="events of a rate (default %(default)s)")
    add("--rounds", type=int, default=3, help="pairs of runs of a ratio (default %(default)s)")
    add("--seconds", type=float, default=30, help="s of freshness (default %(default)s)")
    add("--shoppers", type=int, default=100_000, help="for restart (default %(default)s)")
    add("--processes", type=int, default=1, help="for freshness and restart")
    add("--feed", nargs=5, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.feed:
        address, topic, of_second, seconds, path = asked.feed
        feed(address, topic, float(of_second), float(seconds), Path(path))
        return
    path = cached(Workload())
    with (
        tempfile.TemporaryDirectory(prefix="live-", ignore_cleanup_errors=True) as folder,
        KafkaBroker() as broker,
        EmbeddedRedis() as redis,
    ):
        rig = Rig(broker, redis, Path(folder))
        for part in asked.part or PARTS:
            print(part, flush=True)
            PARTS[part](rig, path, asked)


if __name__ == "__main__":
    main()
