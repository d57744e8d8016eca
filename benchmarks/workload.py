"""The canonical workload: what every throughput figure of this project is measured on.

1,000,000 events of 50,000 shoppers on 20,000 items in 36 hours of event time, seed 7:

- Every shopper comes at least once; the other events fall on shoppers by Zipf's law, exponent 1.0
  (the first shopper of 50,000 makes 8 % of the traffic: a hot key).
- Visits of 6 events on average, 30 s apart on average, beginning at any moment of the span.
- Items by Zipf's law, exponent 1.0. Each visit has a theme, 20 items of like popularity, and
  half of its events stay there, so that co-visitation has something to find.
- 85 % item_view, 6 % cart_add, 2 % purchase of 1 to 3 items, 1 % cart_remove, 4 % page_view,
  2 % search. 70 % of the shoppers are anonymous, the others have a user id.
- An event arrives up to 5 s after it happened, evenly spread; lines are in order of arrival.
- Canonical JSON lines, about 260 bytes each.

Another number of shoppers is another workload of the same law: name it with the figure.
`python -m benchmarks.workload` writes it and prints where it is and what is in it.
"""

from __future__ import annotations

import argparse
import os
import time
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from state.times import HOUR_MS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Rows = NDArray[np.int64]

CACHE = Path(".bench")
VISIT_EVENTS_MEAN = 6
GAP_MS_MEAN = 30_000
THEME_ITEMS = 20
THEMED_SHARE = 0.5
ANONYMOUS_SHARE = 0.7
TYPES = ("item_view", "cart_add", "purchase", "cart_remove", "page_view", "search")
TYPE_SHARES = (0.85, 0.06, 0.02, 0.01, 0.04, 0.02)
PURCHASE = TYPES.index("purchase")
PAGE_VIEW = TYPES.index("page_view")
CHUNK = 100_000


@dataclass(frozen=True)
class Workload:
    """What makes two workloads differ; the defaults are the canonical one."""

    events: int = 1_000_000
    shoppers: int = 50_000
    items: int = 20_000
    disorder_ms: int = 5000
    span_ms: int = 36 * HOUR_MS
    start_ms: int = 1_767_225_600_000
    seed: int = 7
    by_visit: bool = False
    """Draw whole visits of shoppers by Zipf's law instead of events, and leave out who is not drawn: as
    many shoppers as one likes then come in visits of the same length."""


def cached(workload: Workload = Workload(), folder: Path = CACHE) -> Path:
    """The file of a workload, written now unless it is there; a changed generator writes anew."""
    made_by = zlib.crc32(Path(__file__).read_bytes() + repr(workload).encode())
    size = f"{workload.events}-events-{workload.shoppers}-shoppers"
    path = folder / f"{size}-{made_by:08x}.jsonl"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}")
        with partial.open("wb") as file:
            for chunk in chunks(workload):
                file.write(chunk)
        partial.replace(path)
    return path


def chunks(workload: Workload) -> Iterator[bytes]:
    """The lines of a workload, many at a time. Raises ValueError for fewer events than shoppers."""
    rng = np.random.default_rng(workload.seed)
    shopper, visit = _visits(workload, rng)
    event_ts = _times(workload, visit, rng)
    received_ts = event_ts + rng.integers(0, workload.disorder_ms + 1, workload.events)
    item = _items(workload, visit, rng)
    kind = rng.choice(len(TYPES), workload.events, p=TYPE_SHARES)
    more = rng.integers(1, 4, workload.events)
    goods, prices = _catalogue(workload, rng)
    arrival = np.argsort(received_ts, kind="stable")
    for first in range(0, workload.events, CHUNK):
        rows = arrival[first : first + CHUNK]
        columns = (rows, shopper[rows], event_ts[rows], received_ts[rows], item[rows])
        text = [
            _line(number, who, happened, arrived, what, type_of, several, goods, prices)
            for number, who, happened, arrived, what, type_of, several in zip(
                *(column.tolist() for column in (*columns, kind[rows], more[rows])), strict=True
            )
        ]
        yield "".join(text).encode()


def _visits(workload: Workload, rng: np.random.Generator) -> tuple[Rows, Rows]:
    """Who does each event, and in which visit; events of a visit are together, in order."""
    if workload.by_visit:
        lengths = rng.geometric(1 / VISIT_EVENTS_MEAN, workload.events)
        visit = np.repeat(np.arange(workload.events), lengths)[: workload.events]
        return _zipf(workload.shoppers, int(visit[-1]) + 1, rng)[visit], visit
    if workload.events < workload.shoppers:
        raise ValueError(f"{workload.shoppers} shoppers need at least as many events")
    others = _zipf(workload.shoppers, workload.events - workload.shoppers, rng)
    shopper = np.sort(np.concatenate([np.arange(workload.shoppers), others]))
    begins = rng.random(workload.events) < 1 / VISIT_EVENTS_MEAN
    begins |= np.diff(shopper, prepend=-1) != 0
    return shopper, np.cumsum(begins) - 1


def _times(workload: Workload, visit: Rows, rng: np.random.Generator) -> Rows:
    start = workload.start_ms + rng.integers(0, workload.span_ms, int(visit[-1]) + 1)
    elapsed = rng.exponential(GAP_MS_MEAN, len(visit)).cumsum()
    first = np.flatnonzero(np.diff(visit, prepend=-1))
    times: Rows = start[visit] + (elapsed - elapsed[first][visit]).astype(np.int64)
    return times


def _items(workload: Workload, visit: Rows, rng: np.random.Generator) -> Rows:
    # Drawn by Zipf's law inside the theme, too: so the law holds over all.
    cumulated = np.cumsum(1.0 / np.arange(1, workload.items + 1))
    visits = int(visit[-1]) + 1
    theme = _zipf(workload.items, visits, rng) // THEME_ITEMS
    begins = theme * THEME_ITEMS
    ends = np.minimum(begins + THEME_ITEMS, workload.items)
    low = np.where(begins > 0, cumulated[begins - 1], 0.0)
    themed = rng.random(len(visit)) < THEMED_SHARE
    low = np.where(themed, low[visit], 0.0)
    high = np.where(themed, cumulated[ends - 1][visit], cumulated[-1])
    items: Rows = np.searchsorted(cumulated, low + rng.random(len(visit)) * (high - low))
    return items


def _zipf(n: int, size: int, rng: np.random.Generator) -> Rows:
    cumulated = np.cumsum(1.0 / np.arange(1, n + 1))
    drawn: Rows = np.searchsorted(cumulated, rng.random(size) * cumulated[-1])
    return drawn


def _catalogue(workload: Workload, rng: np.random.Generator) -> tuple[list[str], list[float]]:
    prices = [round(price, 2) for price in rng.lognormal(3.2, 0.9, workload.items).tolist()]
    goods = [
        f'{{"item_id":"item-{n:06d}","category":["department-{n % 12}","shelf-{n % 240}"],'
        f'"brand":"brand-{n % 307}","price":{prices[n]}}}'
        for n in range(workload.items)
    ]
    return goods, prices


def _line(
    number: int,
    shopper: int,
    event_ts: int,
    received_ts: int,
    item: int,
    kind: int,
    several: int,
    goods: list[str],
    prices: list[float],
) -> str:
    identity, name = identity_of(shopper)
    begin = (
        f'{{"event_id":"{number:08x}-{event_ts:x}","type":"{TYPES[kind]}","event_ts":{event_ts},'
        f'"received_ts":{received_ts},"{identity}":"{name}"'
    )
    if kind == PURCHASE:
        bought = [(item + 7 * n) % len(goods) for n in range(several)]
        value = round(sum(prices[n] for n in bought), 2)
        items = ",".join([goods[n] for n in bought])
        return (
            f'{begin},"items":[{items}],"order_id":"order-{number}","value":{value},'
            f'"currency":"EUR"}}\n'
        )
    if kind < PAGE_VIEW:
        return f'{begin},"items":[{goods[item]}],"currency":"EUR"}}\n'
    if kind == PAGE_VIEW:
        return f'{begin},"page":{{"path":"/shelf-{item % 240}"}},"device":"mobile"}}\n'
    return f'{begin},"query":"shelf {item % 240}","device":"desktop"}}\n'


def identity_of(shopper: int) -> tuple[str, str]:
    """The field that names a shopper, and the name."""
    # Multiplied by an odd number, ids look random and stay distinct; 0 would be a blocked id.
    scrambled = (shopper + 1) * 0x9E3779B97F4A7C15 % 2**64
    identity = "anonymous_id" if scrambled < ANONYMOUS_SHARE * 2**64 else "user_id"
    return identity, f"{scrambled:016x}"


def main() -> None:
    """Write a workload and print what is in it."""
    canonical = Workload()
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workload")
    for name in ("events", "shoppers", "items", "seed"):
        parser.add_argument(f"--{name}", type=int, default=getattr(canonical, name))
    began = time.perf_counter()
    path = cached(Workload(**vars(parser.parse_args())))
    wrote_s = time.perf_counter() - began
    types: Counter[str] = Counter()
    shoppers: Counter[str] = Counter()
    items: Counter[str] = Counter()
    with path.open("rb") as file:
        for line in file:
            event = msgspec.json.decode(line)
            types[event["type"]] += 1
            shoppers[event.get("anonymous_id") or event["user_id"]] += 1
            items.update(item["item_id"] for item in event.get("items", ()))
    events = types.total()
    print(f"{path}: written in {wrote_s:.1f} s")
    print(f"{events:,} events, {path.stat().st_size / events:.0f} bytes each, {dict(types)}")
    for name, seen in (("shoppers", shoppers), ("items", items)):
        most = seen.most_common(1)[0][1] / seen.total()
        print(f"{len(seen):,} {name}, the first has {most:.1%}")


if __name__ == "__main__":
    main()
