"""How good are the lists, and what do they cost an event?

Quality: `yoochoose_week` read from the folder given; train and valid are learned, then test is
gone through click by click: every click of a session but its first is looked for in the list that
was made after the click before it, then learned (10,152 cases, repeats allowed, ties in time in
order of file). Speed: the canonical workload in batches of 4096, one list of 20 for each shopper
active in a batch, after each item was looked at once and 200,000 events more filled the tables; with
20,000 items, as it is, and with 200,000. Memory: bytes a row of what is stored, tables of less than
a kilobyte left out.

`python -m benchmarks.recommend [--data FOLDER]` prints all; the blend beside each learner alone.
"""

from __future__ import annotations

import argparse
import gzip
import time
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import orjson
from threadpoolctl import threadpool_limits

from benchmarks.workload import Workload, chunks
from operators.catalogue.item_cards import ItemCards
from operators.recommend.standalone import StandaloneRecommender
from state.entries import ItemUpdate
from state.events import Item
from state.interactions import CART, PURCHASE, VIEW, EventColumns
from state.times import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

Click = tuple[int, str, str]
"""When (ms), who, what."""

GAP_MS = 30 * 60 * 1000
BATCH = 4096
LEARNED_FIRST = 200_000
MEASURED = 20 * BATCH
KINDS = {"item_view": (VIEW, 1.0), "cart_add": (CART, 2.0), "purchase": (PURCHASE, 4.0)}


@dataclass
class Sessions:
    """Where the running session of each shopper began, by the rule of a gap."""

    start_ms: dict[str, int] = field(default_factory=dict)
    last_ms: dict[str, int] = field(default_factory=dict)

    def start(self, shopper: str, at_ms: int) -> int:
        """The start of the session an event belongs to."""
        if at_ms - self.last_ms.get(shopper, at_ms - GAP_MS - 1) > GAP_MS:
            self.start_ms[shopper] = at_ms
        self.last_ms[shopper] = at_ms
        return self.start_ms[shopper]

    def views(self, clicks: Sequence[Click]) -> EventColumns:
        """Clicks as a batch of views."""
        none = [None] * len(clicks)
        return EventColumns(
            [shopper for _, shopper, _ in clicks],
            [item for _, _, item in clicks],
            [VIEW] * len(clicks),
            [1.0] * len(clicks),
            [at_ms for at_ms, _, _ in clicks],
            [self.start(shopper, at_ms) for at_ms, shopper, _ in clicks],
            none,
            none,
        )


def read(folder: Path, part: str) -> list[Click]:
    """The clicks of one file in order of time; a session id is one anonymous visitor."""
    with gzip.open(folder / f"{part}.tsv.gz", "rt") as file:
        rows = [line.split() for line in islice(file, 1, None)]
    clicks = [(round(float(at_s) * 1000), f"{part}-{who}", item) for who, item, at_s in rows]
    return sorted(clicks, key=itemgetter(0))


def parted(clicks: Sequence[Click], size: int) -> Iterator[list[Click]]:
    """Batches in which no shopper comes twice, so that each click has the list before it."""
    batch: dict[str, Click] = {}
    for click in clicks:
        if click[1] in batch or len(batch) == size:
            yield list(batch.values())
            batch = {}
        batch[click[1]] = click
    yield list(batch.values())


def quality(
    folder: Path, recommender: StandaloneRecommender
) -> dict[str, tuple[float, float, int]]:
    """HR@20, MRR@20 and the number of cases, of the blend and of each learner alone."""
    sessions = Sessions()
    learned = sorted(read(folder, "train") + read(folder, "valid"), key=itemgetter(0))
    for start in range(0, len(learned), BATCH):
        batch = learned[start : start + BATCH]
        recommender.learn(sessions.views(batch))
        recommender.rank(list(dict.fromkeys(who for _, who, _ in batch)), batch[-1][0])

    ranks: dict[str, list[int]] = defaultdict(list)
    standing: dict[str, dict[str, list[str]]] = {}
    for batch in parted(read(folder, "test"), 256):
        for _, who, item in batch:
            for name, listed in standing.get(who, {}).items():
                ranks[name].append(listed.index(item) + 1 if item in listed else 0)
        recommender.learn(sessions.views(batch))
        shoppers = [who for _, who, _ in batch]
        for name, lists in recommender.rank_per_learner(shoppers, batch[-1][0]).items():
            for who, entries in zip(shoppers, lists.entries(), strict=True):
                standing.setdefault(who, {})[name] = [item for item, _, _ in entries[:20]]
    return {name: _figures(of_name) for name, of_name in ranks.items()}


def _figures(ranks: list[int]) -> tuple[float, float, int]:
    found = [rank for rank in ranks if rank]
    return len(found) / len(ranks), sum(1 / rank for rank in found) / len(ranks), len(ranks)


def introduced(items: int) -> Iterator[EventColumns]:
    """Batches in which every item is looked at once, before the workload begins."""
    at_ms = Workload.start_ms - HOUR_MS
    for start in range(0, items, BATCH):
        names = [f"item-{n:06d}" for n in range(start, min(start + BATCH, items))]
        whose, n = [f"first-{n % 997}" for n in range(len(names))], len(names)
        times, none = [at_ms] * n, [None] * n
        yield EventColumns(whose, names, [VIEW] * n, [1.0] * n, times, times, none, none)


def canonical(items: int = Workload.items) -> Iterator[EventColumns]:
    """Batches of the interactions in the canonical workload, at its density in time."""
    full = Workload()
    events = LEARNED_FIRST + MEASURED
    span_ms = full.span_ms * events // full.events
    sessions, cards = Sessions(), ItemCards()
    rows: list[tuple[str, str, int, float, int, int, str | None, None]] = []
    for chunk in chunks(Workload(events=events, items=items, span_ms=span_ms)):
        for line in chunk.splitlines():
            event = orjson.loads(line)
            if event["type"] not in KINDS:
                continue
            who = event.get("user_id") or event["anonymous_id"]
            at_ms = event["event_ts"]
            start_ms = sessions.start(who, at_ms)
            for item in event["items"]:
                cards.update([ItemUpdate(at_ms, msgspec.convert(item, Item), "")])
                kind = KINDS[event["type"]]
                rows.append(
                    (who, item["item_id"], *kind, at_ms, start_ms, item["category"][0], None)
                )
                if len(rows) == BATCH:
                    whose, what, kinds, weights, at, since, of, _ = zip(*rows, strict=True)
                    yield EventColumns(
                        *(whose, what, kinds, weights, at, since, of, [None] * BATCH),
                        cards=cards.by_id,
                        changed_items=cards.take_changed(),
                    )
                    rows = []


def speed(recommender: StandaloneRecommender, items: int) -> tuple[dict[str, float], float]:
    """Microseconds an event in each part once the tables are full, and lists a batch."""
    spent_s: dict[str, float] = defaultdict(float)
    for owner in (
        *recommender.trainer.models.learners,
        *recommender.components.shopper_learners,
        recommender.trainer.bought_together,
        recommender.components.popular_lists.scoped,
    ):
        _time(owner, "learn_many", f"  learn {type(owner).__name__}", spent_s)
    for learner in recommender.components.learners:
        _time(learner, "candidates", f"  rank {type(learner).__name__}", spent_s)
    for method in ("update_weights", "store_pending", "blend"):
        _time(recommender.components.blend, method, f"  blend {method}", spent_s)
    _time(recommender.components.session_contexts, "append", "  contexts", spent_s)
    _time(recommender, "learn", "learn", spent_s)
    _time(recommender, "recommend", "rank", spent_s)

    for batch in introduced(items):
        recommender.learn(batch)
    events = lists = 0
    for number, batch in enumerate(canonical(items)):
        if number == LEARNED_FIRST // BATCH:
            spent_s.clear()
            events = lists = 0
        shoppers = list(dict.fromkeys(batch.shoppers))
        recommender.learn(batch)
        ranked = recommender.recommend(shoppers, max(batch.at_ms))
        began_s = time.process_time()
        ranked.entries()
        spent_s["entries"] += time.process_time() - began_s
        events += len(batch.items)
        lists += len(shoppers)
    return {name: 1e6 * s / events for name, s in spent_s.items()}, lists / events * BATCH


def _time(owner: object, method: str, name: str, spent_s: dict[str, float]) -> None:
    """Count the time spent in one method of one object."""
    timed: Callable[..., Any] = getattr(owner, method)

    def measured(*args: object) -> object:
        began_s = time.process_time()
        try:
            return timed(*args)
        finally:
            spent_s[name] += time.process_time() - began_s

    setattr(owner, method, measured)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recommend")
    parser.add_argument("--data", type=Path, default=Path("../shared/data/yoochoose_week"))
    folder = parser.parse_args().data
    if folder.exists():
        recommender = StandaloneRecommender()
        for name, (hit_rate, reciprocal, cases) in quality(folder, recommender).items():
            print(f"quality {name}: hr@20={hit_rate:.4f} mrr@20={reciprocal:.4f} cases={cases}")
        weights = zip(
            recommender.components.blend.names, recommender.components.blend.weights(), strict=True
        )
        print("weights", *(f"{name}={weight:.3g}" for name, weight in weights))
    else:
        print(f"quality: not measured, no data at {folder}")
    for items in (20_000, 200_000):
        recommender = StandaloneRecommender()
        cost_us, lists = speed(recommender, items)
        print(f"speed, {items} items, microseconds an event, {lists:.0f} lists for {BATCH}:")
        for name, spent_us in sorted(cost_us.items()):
            print(f"{name} {spent_us:.2f}")
        total_us = cost_us["learn"] + cost_us["rank"] + cost_us["entries"]
        print(f"all {total_us:.2f}, {1e6 / total_us:.0f} events/s")
    print("memory, bytes a row:")
    for table in recommender.components.tables():
        rows, size = (
            len(next(iter(table.columns.values()))),
            sum(column.nbytes for column in table.columns.values()),
        )
        if size >= 1024:
            print(f"  {' '.join(table.columns)}: {size / rows:.0f} of {rows} rows")


if __name__ == "__main__":
    with threadpool_limits(1):  # as the flow runs
        main()
