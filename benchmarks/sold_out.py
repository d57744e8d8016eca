"""An item sells out that most lists hold, and thousands do at once: how long until they are gone?

100,000 shoppers of the canonical workload have a list in a real Redis. Then a live batch says that
the best seller cannot be had, and a nightly feed that 5,000 of 20,000 items cannot, in batches of
500 as they come from a broker. Printed are seconds until the last reply of Redis, how many lists
were taken back instead of made anew, and how many still hold what is gone: that must be none.
Clicks that come meanwhile wait as long as the longest batch. `python -m benchmarks.sold_out
[SHOPPERS]`.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import orjson
from threadpoolctl import threadpool_limits

from benchmarks.workload import Workload, chunks
from flows.process.embedded_redis import EmbeddedRedis
from operators.shards.batching import SourceBatcher
from operators.shards.config import ProcessorConfig
from operators.shards.device_shard import DeviceShard
from operators.shards.sharding import regroup
from operators.shards.user_shard import UserShard
from state.config import Settings
from state.events import Event, Item
from state.store import Store
from tests.personalization import Personalization

if TYPE_CHECKING:
    from collections.abc import Sequence

    from state.messages import ShardPart

SHOPPERS, EVENTS_A_SHOPPER = 100_000, 2
BATCH, FEED_BATCH, FEED = 8192, 500, 5000
LISTS = ("ps:1:shopper:*:top:*", "ps:1:item:*:similar", "ps:1:item:*:bought", "ps:1:popular:*")
SETTINGS = Settings()


class Shop:
    """A flow in one process, and the Redis that it writes to."""

    def __init__(self, store: Store) -> None:
        self.store, self.learning = store, Personalization(SETTINGS)
        rules = ProcessorConfig.from_config(
            SETTINGS.sessions, SETTINGS.profiles, SETTINGS.state, SETTINGS.lifecycle
        )
        self._clock, shards = SourceBatcher(), range(SETTINGS.sessions.shards)
        self._devices = [DeviceShard(rules) for _ in shards]
        self._users = [UserShard(rules) for _ in shards]
        self._told = 0

    def feed(self, events: Sequence[Event]) -> float:
        """Seconds that a live batch takes until the last reply."""
        began_s = time.perf_counter()
        for output in self.learning.process_batch(self._parts(events)):
            self.store.send(output.writes)
        self.store.flush()
        return time.perf_counter() - began_s

    def sell_out(self, items: Sequence[str]) -> float:
        """The same of a batch that says that these cannot be had."""
        now_ms = self.learning.state.clock.newest_event_ms
        self._told += len(items)
        events = [
            Event(
                f"feed-{self._told}-{n}",
                "item",
                now_ms,
                now_ms,
                "catalogue",
                items=(Item(item, available=False),),
            )
            for n, item in enumerate(items)
        ]
        return self.feed(events)

    def _parts(self, events: Sequence[Event]) -> list[ShardPart]:
        shards = len(self._users)
        groups = self._clock.batch(
            events,
            partition="p",
            shards=shards,
            allowed_lateness_ms=SETTINGS.sessions.allowed_lateness_ms,
            live=True,
        ).shard_inputs
        visited = [one for group in groups for one in self._devices[group.shard].process(group)]
        regrouped = regroup(visited, shards)
        return [part for one in regrouped for part in self._users[one.shard].process(one)]

    def lists(self) -> list[set[str]]:
        """The items of every list in Redis."""
        found = []
        for pattern in LISTS:
            keys = list(self.store.client.scan_iter(match=pattern, count=10_000))
            for at in range(0, len(keys), 1000):
                texts = self.store.client.mget(keys[at : at + 1000])
                found += [{e[0] for e in orjson.loads(text)["items"]} for text in texts if text]
        return found


def main() -> None:
    """Print the figures."""
    shoppers = int(sys.argv[1]) if sys.argv[1:] else SHOPPERS
    workload = Workload(events=EVENTS_A_SHOPPER * shoppers, shoppers=shoppers)
    with EmbeddedRedis() as redis, threadpool_limits(1):
        store = Store(redis.url, timeout_ms=60_000, patience_s=60)
        shop = Shop(store)
        lines = [line for chunk in chunks(workload) for line in chunk.splitlines()]
        for at in range(0, len(lines), BATCH):
            shop.feed([msgspec.json.decode(line, type=Event) for line in lines[at : at + BATCH]])
        written = shop.lists()
        recommender = shop.learning.state.recommender
        held: dict[str, int] = {}
        for items in written:
            for item in items:
                held[item] = held.get(item, 0) + 1
        best = max(held, key=held.__getitem__)
        took_s = shop.sell_out([best])
        left = shop.lists()
        print(
            f"best_seller: in {held[best]:,} of {len(written):,} lists, gone_s={took_s:.2f}"
            f" taken_back={len(written) - len(left):,}"
            f" still_in={sum(best in items for items in left)}",
            flush=True,
        )
        rng = np.random.default_rng(7)
        gone = [recommender.items.ids[row] for row in rng.permutation(len(recommender.items))]
        gone = [item for item in gone if item != best][:FEED]
        spent_s = [shop.sell_out(gone[at : at + FEED_BATCH]) for at in range(0, FEED, FEED_BATCH)]
        last = shop.lists()
        print(
            f"feed: {FEED:,} items gone_s={sum(spent_s):.2f} longest_batch_s={max(spent_s):.2f}"
            f" taken_back={len(left) - len(last):,}"
            f" still_in={sum(not items.isdisjoint(gone) for items in last)}"
        )
        store.close()


if __name__ == "__main__":
    main()
