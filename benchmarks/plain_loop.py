"""The plain loop: what a programmer would write first, without a framework, for sessions and profiles.

`orjson.loads`, a dict a shopper, sessions by gap, counts, five decayed categories, and one JSON `SET` an
active shopper and batch of 8,192 events, sent by redis-py to a real Redis. It checks nothing, forgets
nothing, cannot resume, and learns nothing: the cost of an event in the product is held against it.

`python -m benchmarks.table --rows cpu` prints both in turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson
import redis

if TYPE_CHECKING:
    from collections.abc import Iterable

BATCH_EVENTS = 8192
GAP_MS = 30 * 60_000
HALF_LIFE_MS = 7 * 86_400_000
CATEGORIES = 5
LIFETIME_S = 90 * 86_400
COUNTED = {"item_view": "views", "cart_add": "carts", "purchase": "purchases"}


def run(lines: Iterable[bytes], redis_url: str) -> int:
    """Process all lines; returns how many shoppers there are."""
    client = redis.Redis.from_url(redis_url)
    shoppers: dict[str, dict[str, Any]] = {}
    active: set[str] = set()
    for number, line in enumerate(lines, 1):
        event = orjson.loads(line)
        name = event.get("user_id") or event["anonymous_id"]
        count(shoppers, name, event)
        active.add(name)
        if number % BATCH_EVENTS == 0:
            write(client, shoppers, active)
            active.clear()
    write(client, shoppers, active)
    return len(shoppers)


def count(shoppers: dict[str, dict[str, Any]], name: str, event: dict[str, Any]) -> None:
    """Count one event: session, counters, revenue, affinities."""
    at_ms = event["event_ts"]
    shopper = shoppers.get(name)
    if shopper is None:
        shopper = {"first_ms": at_ms, "last_ms": 0, "sessions": 0, "events": 0, "revenue": 0.0}
        shopper |= {"views": 0, "carts": 0, "purchases": 0, "affinity": {}, "session": {}}
        shoppers[name] = shopper
    if at_ms - shopper["last_ms"] > GAP_MS:
        shopper["sessions"] += 1
        shopper["session"] = {"start_ms": at_ms, "events": 0}
    shopper["last_ms"] = max(shopper["last_ms"], at_ms)
    shopper["session"]["events"] += 1
    shopper["events"] += 1
    counted = COUNTED.get(event["type"])
    if counted is not None:
        shopper[counted] += 1
    for item in event.get("items", ()):
        if counted == "purchases":
            shopper["revenue"] += item.get("price", 0.0) * item.get("quantity", 1)
        if category := item.get("category"):
            add_category(shopper["affinity"], category[0], at_ms)


def add_category(affinity: dict[str, tuple[float, int]], category: str, at_ms: int) -> None:
    """Add one to a count that halves in a week; the weakest of more than five goes."""
    weight, since_ms = affinity.get(category, (0.0, at_ms))
    affinity[category] = (weight * 0.5 ** ((at_ms - since_ms) / HALF_LIFE_MS) + 1.0, at_ms)
    if len(affinity) > CATEGORIES:
        del affinity[min(affinity, key=lambda name: affinity[name][0])]


def write(client: redis.Redis, shoppers: dict[str, dict[str, Any]], active: set[str]) -> None:
    """One JSON value for each active shopper."""
    pipeline = client.pipeline(transaction=False)
    for name in active:
        pipeline.set(f"plain:{name}", orjson.dumps(shoppers[name]), ex=LIFETIME_S)
    pipeline.execute()
