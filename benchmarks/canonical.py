"""How many events a second does one worker carry from a file to Redis, everything on, beside the floor?

The floor has the same source and sink and does what no stream processor could leave out: decode, group
by shard, write one value for each active shopper and batch; nothing is remembered or learned. Both run
on the canonical workload (`workload.py`) into a Redis of their own, one after the other.

`python -m benchmarks.canonical` prints the rates, their ratio, and what a shopper costs in memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import bytewax.operators as op
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

from benchmarks.workload import Workload, cached, identity_of
from flows.process import gc_control
from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime import replay
from flows.sinks.redis import RedisSink
from flows.sources.files import LogFile
from flows.sources.recorded import RecordedSource
from operators.readers.registry import READERS
from operators.shards.identity_map import device_key
from state import keys
from state.config import Settings
from state.events import Event, Item
from state.messages import BatchOutput
from state.store import Store
from state.times import DAY_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.dead_letters import DeadLetter
    from state.messages import SourceBatch, Write

LIFETIME_S = 86_400
SCALE_EVENTS = 500_000


class Figures(NamedTuple):
    """What one run took. Rate in events/s, memory in MB above the start of the run."""

    events: int
    shoppers: int
    wall_s: float
    rss_mb: float
    redis_mb: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.wall_s


def floor(source: RecordedSource, sink: RedisSink) -> Dataflow:
    """events -> by_shard -> redis: one value for each active device, shard and batch."""

    def write(batch: SourceBatch) -> list[tuple[str, BatchOutput]]:
        return [
            (str(group.shard), BatchOutput(_values(group.events)))
            for group in batch.shard_inputs
            if group.events
        ]

    flow = Dataflow("floor")
    batches = op.input("events", flow, source)
    op.output("redis", op.flat_map("by_shard", batches, write), sink)
    return flow


def _values(events: list[Event]) -> list[Write]:
    last = {device_key(event): event.event_ts for event in events}
    return [
        ("SET", keys.profile_key(name), at_ms, "EX", LIFETIME_S) for name, at_ms in last.items()
    ]


def measure(kind: str, workload: Workload) -> Figures:
    """Run the floor or the flow over a workload in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.canonical", "--run", kind]
    for name in ("events", "shoppers", "items"):
        command += [f"--{name}", str(getattr(workload, name))]
    if workload.by_visit:
        command.append("--by-visit")
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return Figures(**json.loads(printed.splitlines()[-1]))


def run(kind: str, workload: Workload) -> Figures:
    """Run the floor, the flow, or the flow with all shoppers known beforehand, in this process."""
    path, settings, began_s = str(cached(workload)), Settings(), 0.0

    def records() -> Iterator[Event | DeadLetter]:
        nonlocal began_s
        if kind == "known":
            yield from first_visits(workload)
        began_s = time.perf_counter()
        yield from READERS["penstock"](LogFile(path).lines(), source=path, now_ms=2**62)

    with EmbeddedRedis() as redis, tempfile.TemporaryDirectory() as folder:
        store = Store(redis.url, timeout_ms=5000, patience_s=10)
        before_mb, redis_before = _peak_mb(), _redis_mb(store)
        if kind == "floor":
            source = RecordedSource({"file": records}, settings)
            sink = RedisSink(lambda: Store(redis.url, timeout_ms=5000, patience_s=10))
            with gc_control.gc_disabled():
                run_main(floor(source, sink), epoch_interval=timedelta(seconds=1))
        else:
            replay.replay_recordings(
                {"file": records},
                settings,
                redis_url=redis.url,
                dead_letters=Path(folder) / "dead.jsonl",
            )
        wall_s = time.perf_counter() - began_s
        return Figures(
            workload.events,
            workload.shoppers,
            wall_s,
            _peak_mb() - before_mb,
            _redis_mb(store) - redis_before,
        )


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


def _peak_mb() -> float:
    """The most memory this process has had. Not `ru_maxrss`: that begins with the parent's."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _redis_mb(store: Store) -> float:
    return float(store.client.info("memory")["used_memory"]) / 2**20


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", choices=("floor", "flow", "known"), help="one run, as JSON")
    parser.add_argument("--events", type=int, default=Workload().events)
    parser.add_argument("--shoppers", type=int, default=Workload().shoppers)
    parser.add_argument("--items", type=int, default=Workload().items)
    parser.add_argument("--scale", action="store_true", help="10 k, 100 k and 1 M shoppers too")
    parser.add_argument("--by-visit", action="store_true", help="see `benchmarks.workload`")
    asked = parser.parse_args()
    workload = Workload(
        events=asked.events, shoppers=asked.shoppers, items=asked.items, by_visit=asked.by_visit
    )
    if asked.run:
        print(json.dumps(run(asked.run, workload)._asdict()))
        return
    cached(workload)
    least, flow = measure("floor", workload), measure("flow", workload)
    print(f"floor_events_per_s={least.rate:,.0f} flow_events_per_s={flow.rate:,.0f}")
    print(f"ratio={flow.rate / least.rate:.3f} (at least .2)")
    print(f"peak_worker_mb={flow.rss_mb:.0f} redis_mb={flow.redis_mb:.0f}")
    print(
        f"bytes_a_shopper: worker={flow.rss_mb * 2**20 / flow.shoppers:.0f} "
        f"redis={flow.redis_mb * 2**20 / flow.shoppers:.0f}"
    )
    if asked.scale:
        scale(asked.items)


def scale(items: int) -> None:
    """The rate at which visits are taken in when so many shoppers are known already."""
    rates = []
    for shoppers in (10_000, 100_000, 1_000_000):
        workload = Workload(events=SCALE_EVENTS, shoppers=shoppers, items=items, by_visit=True)
        cached(workload)
        figures = measure("known", workload)
        rates.append(figures.rate)
        print(
            f"shoppers={shoppers:,} events_per_s={rates[-1]:,.0f} of_first={rates[-1] / rates[0]:.2f} "
            f"bytes_a_shopper: worker={figures.rss_mb * 2**20 / shoppers:.0f} "
            f"redis={figures.redis_mb * 2**20 / shoppers:.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
