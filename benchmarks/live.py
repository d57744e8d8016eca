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
snapshots, as they must, and so does one where it is held against two. Each rate is printed with the
cores that every process used meanwhile. A part ends with the figure that was asked and the one reached.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.cores import Cores
from benchmarks.live_rig import STUCK_S, Probes, Rig, fed
from benchmarks.workload import Workload, cached
from flows.process.embedded_redis import EmbeddedRedis
from tests.kafka_broker import KafkaBroker

FRESH_S = 1.0
"""A run has caught up when an event is visible within this time."""


def rate(rig: Rig, path: Path, asked: argparse.Namespace) -> None:
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
    verdict("kafka_over_file", "at least", 0.7, statistics.median(row[0] for row in rows))
    verdict("two_over_one", "at least", 1.5, statistics.median(row[1] for row in rows))


def freshness(rig: Rig, path: Path, asked: argparse.Namespace) -> None:
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
    verdict("freshness_p50_ms", "at most", 60, 1000 * took[len(took) // 2])
    verdict("freshness_p99_ms", "at most", 400, 1000 * took[int(len(took) * 0.99)])


def restart(rig: Rig, path: Path, asked: argparse.Namespace) -> None:
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
    topic, ratios = rig.filled_topic(lines), []
    for _ in range(asked.rounds):
        without = print_rate(rig, "without", rig.run_rate(topic, len(lines)))
        stored = rig.run_rate(topic, len(lines), recovery=rig.recovery())
        ratios.append(print_rate(rig, "with_snapshots", stored) / without)
    verdict("snapshots_cost", "at most", 0.1, 1 - statistics.median(ratios))


def print_rate(rig: Rig, name: str, rate: float) -> float:
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
    asked = parser.parse_args()
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
