"""How many events a second does one worker carry from a file to Redis, everything on, beside the floor?

Both run on the canonical workload (`workload.py`) into a Redis of their own, one after the other, each
in a process of its own (`single_run.py`); `floor.py` says what the floor is.

`python -m benchmarks.canonical` prints the rates, their ratio, and what a shopper costs in memory.
"""

from __future__ import annotations

import argparse

from benchmarks.single_run import measure
from benchmarks.workload import Workload

SCALE_EVENTS = 500_000


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=Workload().events)
    parser.add_argument("--shoppers", type=int, default=Workload().shoppers)
    parser.add_argument("--items", type=int, default=Workload().items)
    parser.add_argument("--scale", action="store_true", help="10 k, 100 k and 1 M shoppers too")
    asked = parser.parse_args()
    workload = Workload(events=asked.events, shoppers=asked.shoppers, items=asked.items)
    least, flow = measure("floor", workload), measure("flow", workload)
    print(f"floor_events_per_s={least.rate:,.0f} flow_events_per_s={flow.rate:,.0f}")
    print(f"ratio={flow.rate / least.rate:.3f}")
    print(f"peak_worker_mb={flow.rss_mb:.0f} redis_mb={flow.redis_mb:.0f}")
    print(
        f"bytes_a_shopper: worker={flow.worker_bytes:.0f} "
        f"redis={flow.redis_mb * 2**20 / flow.shoppers:.0f}"
    )
    if asked.scale:
        scale(asked.items)


def scale(items: int) -> None:
    """The rate at which visits are taken in when so many shoppers are known already."""
    rates = []
    for shoppers in (10_000, 100_000, 1_000_000):
        workload = Workload(events=SCALE_EVENTS, shoppers=shoppers, items=items, by_visit=True)
        figures = measure("known", workload)
        rates.append(figures.rate)
        print(
            f"shoppers={shoppers:,} events_per_s={rates[-1]:,.0f} of_first={rates[-1] / rates[0]:.2f} "
            f"bytes_a_shopper: worker={figures.worker_bytes:.0f} "
            f"redis={figures.redis_mb * 2**20 / shoppers:.0f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
