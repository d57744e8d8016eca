"""Rows that a replay of recorded events gives: processor time, rate, memory, size, rules."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from statistics import median
from typing import TYPE_CHECKING

import numpy as np

from benchmarks import adapters, redis_cost, segments
from benchmarks.single_run import Figures, measure
from benchmarks.table.rows import Part, Row
from benchmarks.workload import Workload, cached
from tests.installed import environment

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.table.rows import Options

SMALL_BATCH = 200
REDIS_RUNS = ((8192, 100_000), (256, 30_000))
FIXED_BATCHES = (16, 64, 200, 512, 1000)
FIXED_WARM, FIXED_COUNT = 16_384, 200
SCALE_EVENTS = 500_000
IMPORTED = "flows.runtime.replay"


def canonical(options: Options) -> Workload:
    """The canonical workload, with fewer events if asked: as many a shopper."""
    return Workload(events=options.events, shoppers=options.events // 20)


def in_turn(rounds: int, *runs: Callable[[], Figures]) -> list[list[Figures]]:
    """Each run once, so many times."""
    return [[run() for run in runs] for _ in range(rounds)]


def cpu(options: Options) -> dict[str, float]:
    """The flow with the default rules beside the plain loop, and at small batches."""
    run = partial(measure, workload=canonical(options))
    rows = in_turn(
        options.rounds,
        lambda: run("plain"),
        lambda: run("flow"),
        lambda: run("flow", batch=SMALL_BATCH, events=options.events // 3),
    )
    for plain, flow, small in rows:
        print(
            f"# cpu us an event: plain loop {plain.cpu_us:.1f}, flow {flow.cpu_us:.1f} "
            f"({flow.cpu_us / plain.cpu_us:.1f} plain loops), "
            f"at batches of {SMALL_BATCH} {small.cpu_us:.1f} ({small.cpu_us / plain.cpu_us:.1f}); "
            f"Redis {1e6 * flow.redis_cpu_s / flow.events:.1f}",
            flush=True,
        )
    return {
        "cpu": median(flow.cpu_us / plain.cpu_us for plain, flow, _ in rows),
        "small": median(small.cpu_us / flow.cpu_us for _, flow, small in rows),
    }


def floor(options: Options) -> dict[str, float]:
    """Rates of the flow and of the floor."""
    run = partial(measure, workload=canonical(options))
    rows = in_turn(options.rounds, lambda: run("floor"), lambda: run("flow"))
    for least, flow in rows:
        print(
            f"# events/s: floor {least.rate:,.0f}, flow {flow.rate:,.0f}; "
            f"cpu us an event: {least.cpu_us:.1f}, {flow.cpu_us:.1f}",
            flush=True,
        )
    return {"floor": median(flow.rate / least.rate for least, flow in rows)}


def fixed(options: Options) -> dict[str, float]:
    """A line through what batches cost, by their events, when the flow is warm."""
    milliseconds = []
    for batch in FIXED_BATCHES:
        events = FIXED_WARM + batch * FIXED_COUNT
        run = measure("flow", canonical(options), batch=batch, warm=FIXED_WARM, events=events)
        milliseconds.append(1000 * run.cpu_s / run.batches)
        print(f"# a batch of {batch}: {milliseconds[-1]:.2f} ms", flush=True)
    slope, intercept = np.polyfit(FIXED_BATCHES, milliseconds, 1)
    print(f"# {intercept:.2f} ms a batch and {1000 * slope:.1f} us an event")
    return {"fixed": float(intercept)}


def redis(options: Options) -> dict[str, float]:
    """What Redis spends on an event beside a `SET`, at large and small batches."""
    ratios = {}
    for batch, events in REDIS_RUNS:
        cost = redis_cost.measure(batch, min(events, options.events))
        print(f"# Redis us an event: {cost.event_us:.1f}, a SET {cost.set_us:.1f}", flush=True)
        ratios[f"redis_{batch}"] = cost.event_us / cost.set_us
    return ratios


def memory(options: Options) -> dict[str, float]:
    """Shoppers in memory, and the rate beside many of them."""
    small = measure("flow", Workload())
    by_size = [
        measure(
            "known", Workload(events=SCALE_EVENTS, shoppers=shoppers, items=items, by_visit=True)
        )
        for shoppers, items in ((10_000, 20_000), (1_000_000, 200_000))
    ]
    print(f"# events/s: {', '.join(f'{run.rate:,.0f}' for run in by_size)}", flush=True)
    return {
        "bytes_50k": small.worker_bytes,
        "bytes_1m": by_size[1].worker_bytes,
        "scale": by_size[1].rate / by_size[0].rate,
    }


def rules(options: Options) -> dict[str, float]:
    """All kinds of segments, without and with 50 rules."""
    cached(segments.workload(options.events))
    pairs = []
    for _ in range(options.rounds):
        without, ruled = (
            segments.measure(options.events, kinds)["cpu_us"]
            for kinds in (segments.KINDS[:-1], segments.KINDS)
        )
        print(f"# cpu us an event: {without:.1f} without, {ruled:.1f} with 50 rules", flush=True)
        pairs.append(without / ruled)
    return {"rules": median(pairs)}


def readers(_: Options) -> dict[str, float]:
    """Formats of other senders."""
    return {name: rate / 1000 for name, rate in adapters.rates().items()}


def imports(options: Options) -> dict[str, float]:
    """What a start costs before anything is read."""
    code = (
        f"import time, json, {IMPORTED}; status = open('/proc/self/status').read(); "
        "print(json.dumps([time.process_time(), "
        "int(status.partition('VmHWM:')[2].split()[0]) / 1024]))"
    )
    runs = []
    for _ in range(max(3, options.rounds)):
        printed = subprocess.run(
            [sys.executable, "-c", code],
            check=True,
            capture_output=True,
            text=True,
            env=environment(),
        ).stdout
        runs.append(json.loads(printed))
    return {
        "imports_s": median(seconds for seconds, _ in runs),
        "imports_mb": median(megabytes for _, megabytes in runs),
    }


PARTS = (
    Part(
        (
            Row("cpu", "CPU an event, default rules on, over the plain loop's", 2.5, 1.5),
            Row("small", "CPU an event at batches of 200 over 8,192", 1.8, 1.4),
        ),
        cpu,
        is_quick=True,
    ),
    Part((Row("floor", "rate over the floor's, one worker", 0.28, 0.5),), floor, is_quick=True),
    Part((Row("fixed", "fixed cost of a batch, ms of CPU", 2.5, 1.0),), fixed, is_quick=True),
    Part(
        tuple(
            Row(name, f"{name}: thousand records a second a core", 60, 100)
            for name in adapters.MAKERS
        ),
        readers,
        is_quick=True,
    ),
    Part(
        (
            Row("imports_s", "start of the command: CPU of the imports, s", 0.7, 0.4),
            Row("imports_mb", "start of the command: memory after the imports, MB", 95, 60),
        ),
        imports,
        is_quick=True,
    ),
    Part(
        (
            Row("redis_8192", "Redis CPU an event at batches of 8,192 over a SET's", 2.1, 1.4),
            Row("redis_256", "Redis CPU an event at batches of 256 over a SET's", 6.5, 4.3),
        ),
        redis,
        is_quick=True,
    ),
    Part((Row("rules", "rate with 50 rules on over none", 0.8, 0.9),), rules),
    Part(
        (
            Row("bytes_50k", "worker bytes a shopper at 50,000", 2000, 1200),
            Row("bytes_1m", "worker bytes a shopper at 1 M", 1000, 700),
            Row("scale", "rate at 1 M shoppers, 200,000 items over 10,000, 20,000", 0.85, 0.95),
        ),
        memory,
    ),
)
