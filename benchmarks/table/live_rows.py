"""Rows that a live run gives, with a real broker and Redis: two cores, freshness, snapshots, restart."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks import live
from benchmarks.table import pauses
from benchmarks.table.rows import Part, Row
from benchmarks.workload import Workload, cached

if TYPE_CHECKING:
    from benchmarks.table.rows import Options


def part(name: str, options: Options, *, shoppers: int = 100_000) -> dict[str, float]:
    """A part of `benchmarks.live` with a broker and a Redis of its own."""
    asked = live.Asked(
        events=min(options.events, 200_000),
        rounds=options.rounds,
        seconds=options.seconds,
        shoppers=shoppers,
    )
    with live.real_rig() as rig:
        return live.PARTS[name](rig, cached(Workload()), asked)


def snapshots(options: Options) -> dict[str, float]:
    """The rate that snapshots cost, and how long they hold the flow up."""
    return part("snapshots", options) | {"pause_p99_ms": pauses.p99_ms(options.events)}


def restart(options: Options) -> dict[str, float]:
    """From kill -9 to caught up, at two sizes."""
    return {
        f"caught_up_{name}": part("restart", options, shoppers=shoppers)["caught_up_s"]
        for name, shoppers in (("100k", 100_000), ("1m", 1_000_000))
    }


PARTS = (
    Part(
        (
            Row("two_cores", "two processes over one, broker and Redis beside them", 1.6, 1.8),
            Row("kafka_over_file", "rate from Kafka over that from a file", 0.7, 0.9),
        ),
        partial(part, "rate"),
    ),
    Part(
        (
            Row("fresh_p50_ms", "freshness at half of the highest rate, p50, ms", 50, 30),
            Row("fresh_p99_ms", "freshness at half of the highest rate, p99, ms", 200, 120),
        ),
        partial(part, "freshness"),
    ),
    Part(
        (
            Row("snapshots", "rate lost to snapshots", 0.05, 0.03),
            Row("pause_p99_ms", "longest pause for a snapshot, p99, ms", 30, 15),
        ),
        snapshots,
    ),
    Part(
        (
            Row("caught_up_100k", "kill -9 to caught up at 100,000 shoppers, s", 8, 4),
            Row("caught_up_1m", "kill -9 to caught up at 1 M shoppers, s", 25, 12),
        ),
        restart,
    ),
    Part(
        (
            Row("busiest_of_2", "share of the busiest of 2 processes of all CPU", 0.7, 0.6),
            Row("busiest_of_4", "share of the busiest of 4 processes of all CPU", 0.4, 0.33),
            Row("sent_bytes", "bytes that 4 processes send each other an event", 400, 200),
            Row("same_facts", "facts of 1, 2 and 4 processes are equal (1: yes)", 1, 1),
        ),
        partial(part, "workers"),
    ),
)
