"""Does a worker that runs for long stay as it is? Ever new shoppers, at half of the highest rate.

`python -m benchmarks.soak [--minutes 30] [--rate N] [--write docs]`: a real broker, a real Redis and
`penstock run --recovery`, whose state is bounded to fewer shoppers than come by; one visit in five is of
a shopper who was there before, mostly evicted by then. Every ten seconds: memory of the worker, events a
second, freshness of probes (as in `benchmarks.live`), size of the recovery folder, open files. At the
end the last third is held against the one after the warm-up; exit code 1 if it is not the same.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks.code import said
from benchmarks.live import lines_of
from benchmarks.live_rig import Probes, Rig, producing, send, shopper_of
from benchmarks.workload import Workload, cached
from flows.process.embedded_redis import EmbeddedRedis
from state import keys
from tests.kafka_broker import KafkaBroker

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SAMPLE_S = 10.0
SHOPPERS_MAX = 20_000
SESSION_GAP_MS = 60_000
LATENESS_MS = 10_000
VISIT_EVENTS = 12
KINDS = (b"item_view", b"item_view", b"item_view", b"cart_add")
BACK_SHARE = 0.2
ITEMS = 5000
GROWTH_MAX = 1.1
"""What the last third may have of the memory or the folder of the first one.

The folder grows until a part of it is written anew: its largest size is what a disk has to have.
"""
STALER_MAX = 1.5
"""And of the freshness, which other work on the machine moves."""
SLOWER_MAX = 0.9
BOUNDS = {
    "state.shoppers_max": SHOPPERS_MAX,
    "sessions.gap_ms": SESSION_GAP_MS,
    "sessions.allowed_lateness_ms": LATENESS_MS,
}
"""Short sessions: a shopper in a session is never evicted, and half an hour has to be enough."""


class Sample(NamedTuple):
    """What ten seconds were like."""

    at_s: float
    rss_mb: float
    events_per_s: float
    p50_ms: float
    p99_ms: float
    folder_mb: float
    redis_mb: float
    files: int
    held: int


def visits(seed: int = 7) -> Iterator[bytes]:
    """Events of shoppers who come for a visit, without end, times left to fill in."""
    rng, shoppers, number = random.Random(seed), 0, 0
    while True:
        is_back = shoppers > SHOPPERS_MAX and rng.random() < BACK_SHARE
        shopper = rng.randrange(shoppers) if is_back else shoppers
        shoppers += not is_back
        for _ in range(rng.randint(1, 2 * VISIT_EVENTS)):
            number += 1
            item = min(int(rng.paretovariate(0.8)), ITEMS)
            yield (
                b'{"event_id":"e%d","type":"%s","event_ts":%%d,"anonymous_id":"s%d",'
                b'"items":[{"item_id":"i%d","category":["c%d"],"price":%d}]}'
            ) % (number, rng.choice(KINDS), shopper, item, item % 20, 5 + item % 90)


def feed(address: str, topic: str, rate: float) -> None:
    """Send visits, many of them side by side, at a steady rate until killed."""
    producer, events = producing(address, linger_ms=10), visits()
    coming: list[bytes] = []
    began_s, sent = time.perf_counter(), 0
    rng = random.Random(11)
    while True:
        while sent < rate * (time.perf_counter() - began_s):
            if len(coming) < 2000:
                coming.append(next(events))
            line = coming.pop(rng.randrange(len(coming)))
            send(producer, topic, line % (time.time_ns() // 1_000_000), shopper_of(line))
            sent += 1
        producer.poll(0)
        time.sleep(0.005)


def samples(rig: Rig, probes: Probes, pid: int, folder: Path, seconds: float) -> Iterator[Sample]:
    """One every `SAMPLE_S`, for so long."""
    began_s = time.perf_counter()
    events, since_s = rig.events(), began_s
    while time.perf_counter() - began_s < seconds:
        took = sorted(probes.until(time.perf_counter() + SAMPLE_S)) or [SAMPLE_S]
        now_s, read = time.perf_counter(), rig.events()
        meta = rig.store.client.hgetall(keys.meta_key())
        gone = int(meta.get(b"evicted", 0)) - int(meta.get(b"returned", 0))
        yield Sample(
            round(now_s - began_s, 1),
            _rss_mb(pid),
            (read - events) / (now_s - since_s),
            1000 * median(took),
            1000 * took[int(len(took) * 0.99)],
            sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 2**20,
            rig.store.client.info("memory")["used_memory"] / 2**20,
            len(list(Path(f"/proc/{pid}/fd").iterdir())),
            int(meta[b"shoppers"]) - gone,
        )
        events, since_s = read, now_s


def _rss_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) / 1024


def held_against(first: Sequence[Sample], last: Sequence[Sample]) -> tuple[list[str], bool]:
    """Rows of a table, and whether the last third is as the first one."""
    rows, is_same = ["| | after warm-up | at the end | ratio | |", "|---|---|---|---|---|"], True
    for name, field, of_many, bound in (
        ("memory of the worker, MB", "rss_mb", median, GROWTH_MAX),
        ("events a second", "events_per_s", median, SLOWER_MAX),
        ("freshness p50, ms", "p50_ms", median, STALER_MAX),
        ("freshness p99 in 10 s, ms", "p99_ms", median, None),
        ("recovery folder at its largest, MB", "folder_mb", max, GROWTH_MAX),
        ("open files", "files", median, GROWTH_MAX),
        ("shoppers in memory", "held", median, GROWTH_MAX),
        ("memory of Redis, MB", "redis_mb", median, None),
    ):
        one, other = (of_many([getattr(row, field) for row in rows_]) for rows_ in (first, last))
        ratio = other / one
        if bound is None:
            said = ""
        else:
            kept = ratio <= bound if bound > 1 else ratio >= bound
            is_same &= kept
            said = "steady" if kept else "**NOT STEADY**"
        rows.append(f"| {name} | {one:,.1f} | {other:,.1f} | {ratio:.2f} | {said} |")
    return rows, is_same


def plot(taken: Sequence[Sample], path: Path) -> None:
    """Memory, rate and freshness over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(3, 1, sharex=True, figsize=(9, 7))
    minutes = [sample.at_s / 60 for sample in taken]
    for axis, field, name in zip(
        axes, ("rss_mb", "events_per_s", "p50_ms"), ("memory, MB", "events/s", "ms"), strict=True
    ):
        axis.plot(minutes, [getattr(sample, field) for sample in taken], label=field)
        axis.set_ylabel(name)
        axis.set_ylim(bottom=0)
    axes[2].plot(minutes, [sample.p99_ms for sample in taken], label="p99_ms")
    axes[2].legend()
    axes[2].set_xlabel("minutes")
    figure.savefig(path, dpi=80)


PAGE = """# A worker that runs for long

`make soak`, {date}, {code}: {minutes:g} minutes at {rate:,.0f} events a second with {shoppers:,}
shoppers. The state was limited to {held:,} shoppers of each kind (`state.shoppers_max`):
{evicted:,} evictions, and {returned:,} evicted shoppers returned.
The warm-up (a quarter) is excluded; the table compares the first third of the rest with the last third.

{table}

Redis grows with the number of shoppers, until their keys expire.

![memory, rate and freshness](soak.png)
"""


def main() -> int:
    """Soak."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--rate", type=float, help="events/s (default: half of the highest rate)")
    parser.add_argument("--write", type=Path, default=Path("docs"), metavar="DIR")
    parser.add_argument("--feed", nargs=3, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.feed:
        feed(asked.feed[0], asked.feed[1], float(asked.feed[2]))
    code = said()  # as it is when the run begins
    with (
        tempfile.TemporaryDirectory(prefix="soak-", ignore_cleanup_errors=True) as folder,
        KafkaBroker() as broker,
        EmbeddedRedis() as redis,
    ):
        rig = Rig(broker, redis, Path(folder))
        rate = asked.rate
        if rate is None:
            lines = lines_of(cached(Workload()), 100_000)
            rate = rig.run_rate(rig.filled_topic(lines), len(lines), recovery=rig.recovery()) / 2
            rig.store.client.flushall()
        topic, recovery = rig.filled_topic([]), rig.recovery()
        words = [
            sys.executable,
            "-m",
            "benchmarks.soak",
            "--feed",
            broker.address,
            topic,
            str(rate),
        ]
        taken: list[Sample] = []
        with rig.running(topic, recovery=recovery, settings=BOUNDS) as run:
            feeder = subprocess.Popen(words)
            try:
                while not rig.events():
                    time.sleep(0.1)
                probes = Probes(rig, topic)
                for sample in samples(rig, probes, run.pid, recovery, 60 * asked.minutes):
                    taken.append(sample)
                    print(json.dumps(sample._asdict()), flush=True)
            finally:
                feeder.kill()
                feeder.wait()
            meta = rig.store.client.hgetall(keys.meta_key())
        settled = taken[len(taken) // 4 :]
        third = max(1, len(settled) // 3)
        rows, is_same = held_against(settled[:third], settled[-third:])
        table = "\n".join(rows)
        print(table)
        plot(taken, asked.write / "soak.png")
        page = PAGE.format(
            minutes=asked.minutes,
            rate=rate,
            shoppers=int(meta[b"shoppers"]),
            held=SHOPPERS_MAX,
            evicted=int(meta[b"evicted"]),
            returned=int(meta[b"returned"]),
            date=time.strftime("%Y-%m-%d"),
            code=code,
            table=table,
        )
        (asked.write / "soak.md").write_text(page)
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
