"""What does each kind of segment cost an event, and what is the rate with 50 rules beside that without?

The canonical workload (`workload.py`) through the whole flow into a Redis; one kind after the other is
switched on. Clusters always are. The rules are those a shop would write: what was looked at lately,
carts left, money spent, who stays away. They are true of many: their transitions are printed, since
a third of the cost is what follows from them.

Processor time of the process that reads, folds, learns and sends, Redis apart: wall time says nothing on
a machine that does something else too. One worker is bound by it, so rates are as its inverse.

`python -m benchmarks.segments` prints the table and the ratio; with `--profile` what the shards alone
take of a core, with and without.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec.structs import replace

from benchmarks.workload import Workload, cached
from flows.process import gc_control
from flows.process.embedded_redis import EmbeddedRedis
from flows.process.kernel_cache import prepare_kernels
from flows.runtime import replay, replay_report
from flows.sources.files import LogFile
from operators.readers.registry import READERS
from operators.segments.rules.compiler import load_rules
from operators.shards.batching import SourceBatcher
from operators.shards.config import ProcessorConfig
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import regroup
from operators.shards.user_shard import UserShard
from state.config import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from state.dead_letters import DeadLetter
    from state.events import Event

EVENTS = 300_000
BATCH = 8192
FLOOR = 0.6

KINDS = ("lifecycle", "rfm", "propensity", "rules")
"""In the order in which they are switched on."""

RULES_BY_SPAN = """
looked-{n}: {{when: {{event: item_view, count: at least 5, within: {span}}}}}
carts-{n}: {{when: {{event: cart_add, count: at least 2, within: {span}}}}}
compares-{n}: {{when: {{event: item_view, distinct items: at least 5, within: {span}}}}}
cart-left-{n}:
  when:
    sequence:
      - event: cart_add
      - then no: purchase
        within: 30 min
    within: {span}
no-cart-{n}: {{when: {{all: [views >= 10, {{no: [cart_add, purchase], within: {span}}}]}}}}
spent-{n}: {{when: {{event: purchase, sum of value: at least 200, within: {span}}}}}
buyers-{n}: {{when: {{event: purchase, within: {span}}}}}
searched-{n}: {{when: {{all: [{{event: search, within: {span}}}, {{not: {{segment: buyers-{n}}}}}]}}}}
"""
RULES_BY_CATEGORY = """
fans-{n}: {{when: {{event: item_view, category: department-{n}, count: at least 3, within: 24 h}}}}
dear-{n}:
  when: {{event: [item_view, cart_add], category: department-{n}, price: at least 50, within: 12 h}}
"""
RULES = """
big-spenders: {when: {all: [revenue >= 500, {not: {holdout: 10 %}}]}}
high-aov: {when: {all: [aov > 150, purchases >= 2]}}
lapsing: {when: {all: [purchases >= 1, recency_days >= 0.5]}}
new: {when: first_seen_days < 0.25}
returning: {when: {all: [sessions >= 2, purchases exactly 0]}}
long-visit: {when: {all: [session_minutes >= 5, session_purchases exactly 0]}}
deep-visit: {when: session_views >= 8}
cart-now: {when: intent is cart}
funnel:
  when:
    sequence:
      - event: item_view
      - then: cart_add
        within: 10 min
      - then: purchase
        within: 30 min
    within: 24 h
faithful: {when: {all: [views >= 10, top_category_share >= 0.8]}}
"""
SPANS = ("24 h", "30 d")
CATEGORIES = 12


def rules() -> str:
    """The 50 rules."""
    spans = [RULES_BY_SPAN.format(n=n, span=span) for n, span in enumerate(SPANS)]
    categories = [RULES_BY_CATEGORY.format(n=n) for n in range(CATEGORIES)]
    return "".join([*spans, *categories, RULES])


def settings_of(kinds: Sequence[str]) -> Settings:
    """The default configuration with these kinds of segment, and clusters."""
    default = Settings()
    has = {kind: kind in kinds for kind in KINDS}
    return replace(
        default,
        lifecycle=replace(default.lifecycle, enabled=has["lifecycle"]),
        rfm=replace(default.rfm, enabled=has["rfm"]),
        propensity=default.propensity
        if has["propensity"]
        else replace(default.propensity, sampled_share=0.0, horizon_days=0),
        segment_rules_text=rules() if has["rules"] else "",
    )


def workload(events: int) -> Workload:
    """The canonical one, of fewer events: as many a shopper."""
    return Workload(events=events, shoppers=events // 20)


def records(path: str) -> Iterator[Event | DeadLetter]:
    """The events of the file."""
    yield from READERS["penstock"](LogFile(path).lines(), source=path, now_ms=2**62)


def run(events: int, kinds: Sequence[str]) -> dict[str, float]:
    """The whole flow, once, in this process."""
    path, settings = str(cached(workload(events))), settings_of(kinds)
    prepare_kernels(settings, None)
    with EmbeddedRedis() as redis, tempfile.TemporaryDirectory() as folder:
        began_s, began_cpu_s = time.perf_counter(), time.process_time()
        replay.replay_recordings(
            {"file": lambda: records(path)},
            settings,
            redis_url=redis.url,
            dead_letters=Path(folder) / "dead.jsonl",
        )
        cpu_s = time.process_time() - began_cpu_s
        said = replay_report.build_report(settings, redis.url, began_s)
    return {"cpu_us": cpu_s / events * 1e6, "changes": said.segment_changes / events}


def measure(events: int, kinds: Sequence[str]) -> dict[str, float]:
    """`run` in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.segments", "--events", str(events)]
    command += ["--run", *kinds]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    figures: dict[str, float] = json.loads(printed.splitlines()[-1])
    return figures


def shards(events: int, *, ruled: bool) -> tuple[float, int]:
    """Processor time an event (us) of decoding and both folds alone, and how many transitions."""
    settings = settings_of(KINDS if ruled else KINDS[:-1])
    prepare_kernels(settings, None)
    segments = load_rules(settings)
    fold = ProcessorConfig.from_config(
        settings.sessions, settings.profiles, settings.state, settings.lifecycle, segments
    )
    count = settings.sessions.shards
    devices = [DeviceShard(fold) for _ in range(count)]
    users = [UserShard(fold) for _ in range(count)]
    source, clock, transitions = [*records(str(cached(workload(events))))], SourceBatcher(), 0
    with gc_control.gc_disabled():
        began_s = time.process_time()
        for first in range(0, len(source) + BATCH, BATCH):
            batch = clock.batch(
                source[first : first + BATCH],
                partition="file",
                shards=count,
                allowed_lateness_ms=settings.sessions.allowed_lateness_ms,
            )
            arrived = [devices[group.shard].process(group)[0] for group in batch.shard_inputs]
            for message in regroup(arrived, count):
                for part in users[message.shard].process(message):
                    transitions += sum(len(one.transitions) for one in part.outputs)
        return (time.process_time() - began_s) / events * 1e6, transitions


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=EVENTS)
    parser.add_argument("--run", nargs="*", choices=KINDS, help="one run with these, as JSON")
    parser.add_argument("--profile", action="store_true", help="the shards alone")
    asked = parser.parse_args()
    if asked.run is not None:
        print(json.dumps(run(asked.events, asked.run)))
        return
    cached(workload(asked.events))
    if asked.profile:
        (without, _), (with_rules, transitions) = (
            shards(asked.events, ruled=ruled) for ruled in (False, True)
        )
        print(f"shards_us_an_event: without={without:.1f} with={with_rules:.1f}")
        print(f"transitions_an_event={transitions / asked.events:.2f}")
        return
    steps = [measure(asked.events, KINDS[:n]) for n in range(len(KINDS) + 1)]
    print(f"clusters: cpu_us_an_event={steps[0]['cpu_us']:.1f}")
    for kind, before, after in zip(KINDS, steps, steps[1:], strict=False):
        more = {name: after[name] - before[name] for name in after}
        print(
            f"+{kind}: cpu_us_an_event={after['cpu_us']:.1f} ({more['cpu_us']:+.1f}) "
            f"changes_an_event={more['changes']:+.3f}"
        )
    bare, without, everything = (steps[n]["cpu_us"] for n in (0, -2, -1))
    print(f"ratio: all over all but rules={without / everything:.2f} (at least {FLOOR})")
    print(f"ratio: all over clusters only={bare / everything:.2f}")


if __name__ == "__main__":
    main()
