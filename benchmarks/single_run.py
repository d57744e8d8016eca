"""One run over a workload in a process of its own: the plain loop, the floor, or the whole flow.

What a run took counts from the first record that it asks for, or from the `--warm`th one: imports and
start are no part of it. Processor time is that of all threads of the process, Redis beside it. The flow
runs with the shipped configuration, and so with the segment rules that come with it.

`python -m benchmarks.single_run flow --events 300000 --shoppers 15000 --batch 200` prints it as JSON.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bytewax.testing import run_main
from msgspec.structs import replace

from benchmarks import floor, plain_loop
from benchmarks.workload import Workload, cached, identity_of
from flows.process import gc_control
from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime import replay
from flows.sinks.redis import RedisSink
from flows.sources.files import LogFile
from operators.readers.registry import READERS
from state import config_loader
from state.events import Event, Item
from state.store import Store
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.config import Settings
    from state.dead_letters import DeadLetter

KINDS = ("plain", "floor", "flow", "known")
"""`known` is the flow with one view of each shopper read beforehand, uncounted."""


class Figures(NamedTuple):
    """What one run took; memory in MB above the start of the run."""

    events: int
    shoppers: int
    batches: int
    wall_s: float
    cpu_s: float
    redis_cpu_s: float
    redis_commands: int
    rss_mb: float
    redis_mb: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.wall_s

    @property
    def cpu_us(self) -> float:
        """Processor time an event."""
        return 1e6 * self.cpu_s / self.events

    @property
    def worker_bytes(self) -> float:
        """Memory of the worker for each shopper."""
        return self.rss_mb * 2**20 / self.shoppers


def measure(
    kind: str, workload: Workload, *, batch: int = 8192, warm: int = 0, events: int | None = None
) -> Figures:
    """One run over the first `events` of a workload."""
    cached(workload)
    command = [sys.executable, "-m", "benchmarks.single_run", kind]
    for name in ("events", "shoppers", "items"):
        command += [f"--{name}", str(getattr(workload, name))]
    command += ["--batch", str(batch), "--warm", str(warm)]
    command += ["--first", str(events or workload.events)]
    if workload.by_visit:
        command.append("--by-visit")
    printed = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return Figures(**json.loads(printed.splitlines()[-1]))


@dataclass
class Meter:
    """What the process and its Redis have used since `start`."""

    store: Store
    began: list[float] = field(default_factory=list)

    def start(self) -> None:
        """Count from now on."""
        self.began = self._now()

    def used(self) -> list[float]:
        """Wall and processor time (s), those of Redis, its commands."""
        return [now - began for now, began in zip(self._now(), self.began, strict=True)]

    def _now(self) -> list[float]:
        info = self.store.client.info()
        redis_s = info["used_cpu_user"] + info["used_cpu_sys"]
        commands = info["total_commands_processed"]
        return [time.perf_counter(), time.process_time(), redis_s, commands]


def run(kind: str, workload: Workload, batch: int, warm: int, events: int) -> Figures:
    """One run in this process."""
    path = str(cached(workload))
    with EmbeddedRedis() as redis:
        store = Store(redis.url, timeout_ms=5000, patience_s=10)
        before_mb, redis_before = peak_mb(), redis_mb(store)
        meter = Meter(store)
        if kind == "plain":
            meter.start()
            plain_loop.run(islice(LogFile(path).lines(), events), redis.url)
        elif kind == "floor":
            sink = RedisSink(lambda: Store(redis.url, timeout_ms=5000, patience_s=10))
            with gc_control.gc_disabled():
                run_main(floor.build(path, meter.start, sink), epoch_interval=timedelta(seconds=1))
        else:
            _flow(path, workload, batch, warm, events, meter, redis.url, known=kind == "known")
        wall_s, cpu_s, redis_cpu_s, commands = meter.used()
        counted = events - warm
        return Figures(
            counted,
            workload.shoppers,
            -(-counted // batch),
            wall_s,
            cpu_s,
            redis_cpu_s,
            int(commands),
            peak_mb() - before_mb,
            redis_mb(store) - redis_before,
        )


def _flow(
    path: str,
    workload: Workload,
    batch: int,
    warm: int,
    events: int,
    meter: Meter,
    redis_url: str,
    *,
    known: bool,
) -> None:
    def records() -> Iterator[Event | DeadLetter]:
        if known:
            yield from first_visits(workload)
        found = READERS["penstock"](LogFile(path).lines(), source=path, now_ms=2**62)
        yield from islice(found, warm)
        meter.start()
        yield from islice(found, events - warm)

    settings = shipped_settings(batch)
    with tempfile.TemporaryDirectory() as folder:
        replay.replay_recordings(
            {"file": records},
            settings,
            redis_url=redis_url,
            dead_letters=Path(folder) / "dead.jsonl",
        )


def shipped_settings(batch: int) -> Settings:
    """`config.yaml` with the rules of `segments.yaml`: every kind of segment and of list is on."""
    settings = config_loader.load(environment={})
    return replace(settings, source=replace(settings.source, batch_events=batch))


def first_visits(workload: Workload) -> Iterator[Event]:
    """One view of each shopper, in the day before the workload."""
    apart_ms = DAY_MS / workload.shoppers
    for shopper in range(workload.shoppers):
        identity, name = identity_of(shopper)
        at_ms = workload.start_ms - DAY_MS + round(shopper * apart_ms)
        item = Item(item_id=f"item-{shopper * 7919 % workload.items:06d}")
        user_id = name if identity == "user_id" else None
        anonymous_id = None if user_id else name
        yield Event(
            f"first-{shopper}", "item_view", at_ms, at_ms, anonymous_id, user_id, items=(item,)
        )


def peak_mb() -> float:
    """The most memory this process has had. Not `ru_maxrss`: that begins with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def redis_mb(store: Store) -> float:
    """The memory that Redis uses."""
    return float(store.client.info("memory")["used_memory"]) / 2**20


def main() -> None:
    """Print one run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--events", type=int, default=Workload().events)
    parser.add_argument("--shoppers", type=int, default=Workload().shoppers)
    parser.add_argument("--items", type=int, default=Workload().items)
    parser.add_argument("--by-visit", action="store_true", help="see `benchmarks.workload`")
    parser.add_argument("--first", type=int, help="only so many events of the workload")
    parser.add_argument("--batch", type=int, default=8192, help="events a batch")
    parser.add_argument("--warm", type=int, default=0, help="events that do not count")
    asked = parser.parse_args()
    workload = Workload(
        events=asked.events, shoppers=asked.shoppers, items=asked.items, by_visit=asked.by_visit
    )
    events = asked.first or asked.events
    print(json.dumps(run(asked.kind, workload, asked.batch, asked.warm, events)._asdict()))


if __name__ == "__main__":
    main()
