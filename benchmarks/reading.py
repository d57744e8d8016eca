"""How long does a storefront wait for a list, beside the same read of an empty key?

A shop of the synthetic kind is replayed into an embedded Redis; then its shoppers' lists are read one
by one, as a page would, with plain redis-py over the server's socket.

`python -m benchmarks.reading` prints the percentiles in microseconds.
"""

from __future__ import annotations

import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from flows.process.embedded_redis import EmbeddedRedis
from flows.runtime import replay
from operators.synthetic.traffic import generate_events
from state import keys
from state.config import Settings
from state.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from state.dead_letters import DeadLetter
    from state.events import Event

EVENTS = 20_000
READS = 20_000
START_MS = 1_760_000_000_000


def main() -> None:
    """Print the figures."""

    def records() -> Iterator[Event | DeadLetter]:
        return islice(generate_events(seed=7, shoppers=2000, items=500, start_ms=START_MS), EVENTS)

    with EmbeddedRedis() as redis, tempfile.TemporaryDirectory() as folder:
        replay.replay_recordings(
            {"shop": records},
            Settings(),
            redis_url=redis.url,
            dead_letters=Path(folder) / "dead.jsonl",
        )
        store = Store(redis.url, timeout_ms=1000, patience_s=0)
        lists = [key for key, _ in store.rows("ps:1:shopper:*:top:*")]
        asked = [lists[i % len(lists)] for i in range(READS)]
        for name, wanted in (
            ("list", asked),
            ("nothing", [keys.top_key("nobody", "home")] * READS),
        ):
            waited_us = np.array([_read_us(store, key) for key in wanted])
            p50, p99, p999 = np.percentile(waited_us, (50, 99, 99.9))
            print(f"read_{name}_us p50={p50:.0f} p99={p99:.0f} p99.9={p999:.0f} reads={READS}")


def _read_us(store: Store, key: str) -> float:
    began_s = time.perf_counter()
    store.client.get(key)
    return 1e6 * (time.perf_counter() - began_s)


if __name__ == "__main__":
    main()
