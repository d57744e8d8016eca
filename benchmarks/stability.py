"""Do lists depend on what should not matter: seeds, order of arrival, the hash seed, size of batches?

Streams are evaluated click by click (known shoppers, k 20) with the default configuration. Then again
with another seed for every learner that draws at random; with events of different shoppers that
arrive up to five minutes late, each shopper's own in order; in processes with another PYTHONHASHSEED;
and learned in batches of other sizes, where a list is no older than the click that it is scored on.
HR@20 and MRR@20 are asked to differ by at most `MOST`.

| data | scored |
|---|---|
| `rees46` | three hours of a shop, 12,552 cases |
| `yoochoose_week` | the test file, 10,152 cases; train and valid are learned before |

`python -m benchmarks.stability [DATA ...]`.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from dataclasses import replace
from statistics import mean, pstdev
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from benchmarks.quality import DATA
from flows.commands.evaluation_files import read_clicks, session_gap_ms
from operators.evaluation.competitors import BLEND, ProtocolOptions
from operators.evaluation.prequential import prequential
from operators.evaluation.product_recommender import ProductRecommender
from operators.recommend.candidates.registry import LEARNERS
from operators.recommend.standalone import StandaloneRecommender
from state.config import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from operators.evaluation.clicks import ClickStream
    from operators.recommend.candidates.base import CandidateLearner

MOST = 0.003
SEEDS = (7, 1, 2, 3, 4)
HASH_SEEDS = ("0", "1")
BATCHES = (8, 32, 128, 512, 2048)
BATCH = 128
LATE_MS = 5 * 60 * 1000
K = 20
SETTINGS = Settings()


class Task(NamedTuple):
    """A stream, and after what pause a session ends in it."""

    clicks: ClickStream
    gap_ms: int | None


class Figures(NamedTuple):
    """Of the blend."""

    hr: float
    mrr: float


def rees46() -> Task:
    """One file."""
    clicks = read_clicks([str(DATA / "rees46_2019-10-01.csv.gz")], "rees46", SETTINGS)
    return Task(clicks, session_gap_ms("rees46", SETTINGS))


def yoochoose_week() -> Task:
    """Two files are learned before the one that is scored."""
    names = ("train", "valid", "test")
    files = [str(DATA / f"yoochoose_week/{name}.tsv.gz") for name in names]
    clicks = read_clicks(files, "yoochoose", SETTINGS)
    return Task(clicks, session_gap_ms("yoochoose", SETTINGS))


TASKS: Mapping[str, Callable[[], Task]] = {"rees46": rees46, "yoochoose_week": yoochoose_week}


def figures(task: Task, *, seed: int | None = None, batch: int = BATCH) -> Figures:
    """How good the lists are."""
    recommender = StandaloneRecommender(other_learners=None if seed is None else _seeded(seed))
    product = ProductRecommender(recommender, task.clicks, blend_name=BLEND, batch=batch)
    rules = ProtocolOptions(k=K, known=True, session_gap_ms=task.gap_ms, lists_at_once=batch)
    outcome = prequential(task.clicks, [product], rules)
    return Figures(float(outcome.hits(BLEND).mean()), float(outcome.reciprocal(BLEND).mean()))


def _seeded(seed: int) -> list[CandidateLearner]:
    """The learners beside those that a recommender makes itself; those that draw do it anew."""
    return [
        make(**({"seed": seed} if "seed" in inspect.signature(make).parameters else {}))
        for name, make in LEARNERS.items()
        if name not in ("covisitation", "content", "popularity")
    ]


def late(task: Task, seed: int) -> Task:
    """The same clicks, some of which arrive late."""
    clicks = task.clicks
    at_ms, shopper = np.asarray(clicks.at_ms), np.asarray(clicks.shopper)
    arrival = at_ms + np.random.default_rng(seed).integers(0, LATE_MS, len(at_ms))
    # A shopper's arrivals, in order, to the shopper's clicks in order.
    arrival[shopper.argsort(kind="stable")] = arrival[np.lexsort((arrival, shopper))]
    part = np.searchsorted(clicks.starts, np.arange(len(clicks)), side="right")
    order = np.lexsort((arrival, part))
    return task._replace(clicks=replace(clicks.subset(order), starts=clicks.starts))


def _elsewhere(name: str, hash_seed: str) -> Figures:
    """The figures of a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.stability", "--one", name],
        env={**os.environ, "PYTHONHASHSEED": hash_seed},
        stdout=subprocess.PIPE,
        check=True,
    )
    return Figures(*json.loads(done.stdout))


def print_spread(name: str, what: str, found: Sequence[Figures]) -> None:
    """Print how far figures lie apart, by their means and extremes."""
    hr, mrr = ([one[at] for one in found] for at in (0, 1))
    moved = max(max(of) - min(of) for of in (hr, mrr))
    verdict = "" if moved <= MOST else f"  MOVED BY MORE THAN {MOST}"
    pairs = "  ".join(
        f"{metric} {mean(of):.4f} ± {pstdev(of):.4f} ({min(of):.4f} to {max(of):.4f})"
        for metric, of in (("hr@20", hr), ("mrr@20", mrr))
    )
    print(f"{name}, {what}: {pairs}{verdict}", flush=True)


def measure(name: str) -> None:
    """One data set."""
    task = TASKS[name]()
    print(f"{name}: {len(task.clicks):,} clicks", flush=True)
    of_batches = {size: figures(task, batch=size) for size in BATCHES}
    plain = of_batches[BATCH]
    print_spread(name, f"batches of {', '.join(map(str, BATCHES))}", list(of_batches.values()))
    print_spread(name, f"{len(SEEDS)} seeds", [figures(task, seed=seed) for seed in SEEDS])
    print_spread(
        name, "arrival up to 5 min late", [plain, *(figures(late(task, n)) for n in (1, 2))]
    )
    print_spread(name, "PYTHONHASHSEED", [plain, *(_elsewhere(name, one) for one in HASH_SEEDS)])


def main() -> None:
    """Measure the data sets named, or all of them."""
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(figures(TASKS[sys.argv[2]]())))
        return
    for name in sys.argv[1:] or TASKS:
        measure(name)


if __name__ == "__main__":
    with threadpool_limits(1):  # as the flow runs
        main()
