"""How fast, how fresh and how soon back is the live path, with a real broker and Redis beside it?

`python -m benchmarks.live` prints, each part by itself with `--part NAME`:

- rate        Kafka to Redis with one process, a topic of four partitions filled beforehand, over the
              rate of replaying the same events from a file; and two processes over one
- freshness   of an event sent to its shopper's list in Redis, at half of the highest rate
- restart     from kill -9 until events are fresh again, with many shoppers in the recovery folder
- snapshots   the rate with a recovery folder over the rate without
- workers     1, 2 and 4 processes: who does how much of the work, what they send each other, and
              whether the facts are the same

Rates leave out the start: from a tenth of the events on, as `ps:1:meta` counts them. Each pair of
figures is of runs right after each other, `--rounds` times, and the middle ratio counts. Freshness is
that of probes: events of shoppers who come once, sent every 50 ms among the paced ones, and their
lists looked for every 2 ms. `--processes 2` runs freshness and restart in two. Two processes keep
snapshots, as they must, and so does one where it is held against two. Each rate is printed with the
cores that every process used meanwhile. `python -m benchmarks.table` says what each has to reach.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import many_workers
from benchmarks.cores import Cores
from benchmarks.live_rig import STUCK_S, Probes, Rig, fed
from benchmarks.workload import Workload, cached
from flows.process.embedded_redis import EmbeddedRedis
from tests.kafka_broker import KafkaBroker

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Asked:
    """How much is measured; the options of the command line."""

    events: int = 200_000
    rounds: int = 3
    seconds: float = 30
    shoppers: int = 100_000
    processes: int = 1


FRESH_S = 1.0
"""A run has caught up when an event is visible within this time."""


def rate(rig: Rig, path: Path, asked: Asked) -> dict[str, float]:
    """Kafka against the file, two processes against one."""
    lines = lines_of(path, asked.events)
    part = rig.folder / "part.jsonl"
    part.write_bytes(b"".join(lines))
    topic = rig.filled_topic(lines)
    rows = []
    for _ in range(asked.rounds):
        replay = print_rate(rig, "replay", rig.replay_rate(part, len(lines)))
        live = print_rate(rig, "kafka", rig.run_rate(topic, len(lines)))
        one = print_rate(
            rig, "one_process", rig.run_rate(topic, len(lines), recovery=rig.recovery())
        )
        two = print_rate(rig, "two_processes", rig.run_rate(topic, len(lines), processes=2))
        rows.append((live / replay, two / one))
    return {
        "kafka_over_file": statistics.median(row[0] for row in rows),
        "two_cores": statistics.median(row[1] for row in rows),
    }


def freshness(rig: Rig, path: Path, asked: Asked) -> dict[str, float]:
    """Probes among paced events."""
    lines = lines_of(path, asked.events)
    topic = rig.filled_topic(lines)
    half = rig.run_rate(topic, len(lines), processes=asked.processes, recovery=rig.recovery()) / 2
    rig.store.client.flushall()
    topic = rig.filled_topic([])
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
        raise SystemExit(f"only {len(took)} probes came through: {rig.last_line()}")
    print(f"rate={half:,.0f} probes={len(took)} max_ms={1000 * took[-1]:.0f} {cores}")
    return {
        "fresh_p50_ms": 1000 * took[len(took) // 2],
        "fresh_p99_ms": 1000 * took[int(len(took) * 0.99)],
    }


def restart(rig: Rig, path: Path, asked: Asked) -> dict[str, float]:
    """Kill -9 amid paced events, until a probe is fresh again."""
    visits = Workload(events=3 * asked.shoppers, shoppers=asked.shoppers)
    lines = lines_of(cached(visits), visits.events)
    topic, folder = rig.filled_topic(lines), rig.recovery()
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
    return {"caught_up_s": back_s}


def caught_up(probes: Probes) -> float:
    """When the first event that was sent from now on was visible within `FRESH_S`."""
    began_s = time.perf_counter()
    while time.perf_counter() - began_s < STUCK_S:
        for sent_s, seen_s in probes.step():
            if sent_s > began_s and seen_s - sent_s < FRESH_S:
                return seen_s
    raise SystemExit("the run did not catch up")


def snapshots(rig: Rig, path: Path, asked: Asked) -> dict[str, float]:
    """With a recovery folder and without."""
    lines = lines_of(path, 2 * asked.events)
    topic, ratios = rig.filled_topic(lines), []
    for _ in range(asked.rounds):
        without = print_rate(rig, "without", rig.run_rate(topic, len(lines)))
        stored = rig.run_rate(topic, len(lines), recovery=rig.recovery())
        ratios.append(print_rate(rig, "with_snapshots", stored) / without)
    return {"snapshots": 1 - statistics.median(ratios)}


def workers(rig: Rig, path: Path, asked: Asked) -> dict[str, float]:
    """1, 2 and 4 processes."""
    lines = lines_of(path, asked.events)
    topic = rig.filled_topic(lines)
    runs = [many_workers.measure(rig, topic, len(lines), count) for count in (1, 2, 4)]
    return {
        "busiest_of_2": runs[1][0],
        "busiest_of_4": runs[2][0],
        "sent_bytes": runs[2][1],
        "same_facts": float(len({facts for *_, facts in runs}) == 1),
    }


def print_rate(rig: Rig, name: str, rate: float) -> float:
    """Print a rate and what the machine did meanwhile."""
    print(f"{name}={rate:,.0f}/s cores: {rig.used}", flush=True)
    return rate


def lines_of(path: Path, events: int) -> list[bytes]:
    """The first events of a file."""
    with path.open("rb") as file:
        return [line for _, line in zip(range(events), file, strict=False)]


PARTS = {
    "rate": rate,
    "freshness": freshness,
    "restart": restart,
    "snapshots": snapshots,
    "workers": workers,
}


@contextmanager
def real_rig() -> Iterator[Rig]:
    """A broker and a Redis of their own."""
    with (
        tempfile.TemporaryDirectory(prefix="live-", ignore_cleanup_errors=True) as folder,
        KafkaBroker() as broker,
        EmbeddedRedis() as redis,
    ):
        yield Rig(broker, redis, Path(folder))


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    add, default = parser.add_argument, Asked()
    add("--part", choices=PARTS, action="append", help="only this one; may be given again")
    add("--events", type=int, default=default.events, help="events of a rate")
    add("--rounds", type=int, default=default.rounds, help="pairs of runs of a ratio")
    add("--seconds", type=float, default=default.seconds, help="s of freshness")
    add("--shoppers", type=int, default=default.shoppers, help="for restart")
    add("--processes", type=int, default=default.processes, help="for freshness and restart")
    options = vars(parser.parse_args())
    parts = options.pop("part") or PARTS
    path = cached(Workload())
    with real_rig() as rig:
        for part in parts:
            print(part, flush=True)
            for name, value in PARTS[part](rig, path, Asked(**options)).items():
                print(f"{name}={value:.4g}", flush=True)


if __name__ == "__main__":
    main()
