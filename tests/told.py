"""Writes what the page reads and the flow does not write yet, made up, so that every view has something.

Goes as the flow learns to write it: what is there already is left alone.
"""

# ruff: noqa: C901, E501

from __future__ import annotations

import math
import random
from typing import TYPE_CHECKING, Any

import orjson

from state import keys
from state.store import Store
from state.times import DAY_MS, HOUR_MS, MINUTE_MS

if TYPE_CHECKING:
    from collections.abc import Iterator


def tell(redis_url: str) -> None:
    """Write every key that is absent."""
    client = Store(redis_url, timeout_ms=5000, patience_s=0).client
    dice = random.Random(7)
    meta = client.hgetall(keys.meta_key())
    now_ms = int(meta[b"watermark_ms"]) + 300_000
    minute_ms = now_ms // MINUTE_MS * MINUTE_MS
    for key, fields in _hashes(now_ms):
        if not client.exists(key):
            client.hset(key, mapping=fields)
    for key, step_ms, back in (
        (keys.shop_history_key(), MINUTE_MS, 8 * DAY_MS // MINUTE_MS // 6),
        (keys.shop_history_hours_key(), HOUR_MS, 400 * 24 // 6),
    ):
        if not client.exists(key):
            _stream(client, key, _shop(minute_ms, step_ms, back, dice))
    registry = {
        sid.decode(): orjson.loads(v) for sid, v in client.hgetall(keys.registry_key()).items()
    }
    sizes = {sid: client.zcard(keys.members_key(sid)) for sid in registry}
    for sid in registry:
        for key, step_ms, back in (
            (keys.history_key(sid), MINUTE_MS, 1500),
            (keys.history_hours_key(sid), HOUR_MS, 1500),
        ):
            if not client.exists(key):
                _stream(client, key, _segment(minute_ms, step_ms, back, sizes[sid], dice))
        if not client.exists(keys.lifts_key(sid)):
            client.set(keys.lifts_key(sid), orjson.dumps(_lifts(client, now_ms, dice)))
        if not client.exists(keys.overlap_key(sid)):
            others = {one: dice.randrange(1 + sizes[sid] // 2) for one in registry if one != sid}
            client.hset(keys.overlap_key(sid), mapping=others or {"none": 0})
        if not client.exists(keys.versions_key(sid)):
            client.hset(keys.versions_key(sid), mapping=_versions(now_ms, sizes[sid]))
    if not client.exists(keys.clusters_map_key()):
        client.set(keys.clusters_map_key(), orjson.dumps(_map(registry, now_ms, dice)))
    if not client.exists(keys.recent_key()):
        _recent(client, now_ms, dice)


def _hashes(now_ms: int) -> Iterator[tuple[str, dict[str, Any]]]:
    now: dict[str, Any] = {
        "at": now_ms,
        "events_1m": 17_880,
        "active_shoppers": 1204,
        "sessions_open": 1377,
    }
    now |= {"conversion_1d": 0.0312, "revenue_today": 18_432.55, "orders_today": 311}
    now |= {"aov_today": 59.27, "bot_share": 0.021, "freshness_p50_ms": 84, "freshness_p99_ms": 412}
    yield keys.shop_now_key(), now | {"late": 41, "duplicates": 212, "rejected": 37}
    quality = {"read": 62_210, "accepted": 61_961, "late": 41, "duplicates": 212}
    quality |= {"clamped_clocks": 9, "rejected.not_json": 3, "rejected.blocked_id": 21}
    yield keys.quality_key(), quality | {"rejected.bad_money": 11, "rejected.no_identity": 2}


def _wave(at_ms: int, period_ms: int) -> float:
    return 0.5 + 0.5 * math.sin(2 * math.pi * at_ms / period_ms)


def _shop(until_ms: int, step_ms: int, back: int, dice: random.Random) -> Iterator[tuple[int, Any]]:
    for i in range(back, -1, -1):
        at_ms = (until_ms - i * step_ms) // step_ms * step_ms
        events = int(260 + 120 * _wave(at_ms, 40 * step_ms) + dice.randrange(60))
        bought = dice.randrange(8)
        row = {"events": events, "sessions": events // 6, "active": events // 3}
        yield at_ms, row | {"carts": events // 20, "purchases": bought, "revenue": bought * 58.2}


def _segment(
    until_ms: int, step_ms: int, back: int, size: int, dice: random.Random
) -> Iterator[tuple[int, Any]]:
    moves: list[tuple[int, int]] = [
        (dice.randrange(12), dice.randrange(12)) for _ in range(back + 1)
    ]
    at = [size]
    for entered, left in reversed(moves[1:]):
        at.append(max(0, at[-1] - entered + left))
    for i, (now, (entered, left)) in enumerate(zip(reversed(at), moves, strict=True)):
        at_ms = (until_ms - (back - i) * step_ms) // step_ms * step_ms
        row = {"size": now, "entered": entered, "left": left}
        yield at_ms, row | {"purchases": entered // 4, "revenue": entered * 9.5}


def _stream(client: Any, key: str, entries: Iterator[tuple[int, Any]]) -> None:
    writes = client.pipeline(transaction=False)
    for at_ms, fields in entries:
        writes.xadd(key, fields, id=f"{at_ms}-0")
    writes.execute()


def _lifts(client: Any, now_ms: int, dice: random.Random) -> dict[str, Any]:
    items = [key[11:-6] for key in map(bytes.decode, client.scan_iter("ps:1:item:*:card"))][:6]
    kinds = ["kitchen/mug", "clothing/scarf", "garden", "clothing/jacket", "kitchen/bowl"]
    found: dict[str, list[Any]] = {name: [[one, round(dice.uniform(0.7, 5), 2), round(dice.uniform(0.02, 0.5), 3)] for one in some]
             for name, some in (("categories", kinds), ("items", items))}  # fmt: skip
    return {"at": now_ms} | {n: sorted(rows, key=lambda row: -row[1]) for n, rows in found.items()}


def _versions(now_ms: int, size: int) -> dict[str, str]:
    rules = [
        "viewed any item at least 2 times within 24 h",
        "viewed any item at least 3 times within 12 h",
    ]
    return {
        str(n): orjson.dumps({"rule": rule, "from_ms": now_ms - (2 - n) * DAY_MS, "size": size - n}).decode()
        for n, rule in enumerate(rules, 1)
    }  # fmt: skip


def _map(registry: dict[str, Any], now_ms: int, dice: random.Random) -> dict[str, Any]:
    clusters = [sid for sid in registry if sid.startswith("cluster-")]
    centres = [
        [dice.uniform(-3, 3), dice.uniform(-2, 2), sid, registry[sid]["name"]] for sid in clusters
    ]
    points = [
        [dice.gauss(x, 0.5), dice.gauss(y, 0.4), int(sid.split("-")[1])]
        for x, y, sid, _ in centres
        for _ in range(120)
    ]
    axes = ["revenue, purchases", "visit length"]
    return {"at": now_ms, "points": points, "centres": centres, "axes": axes}


def _recent(client: Any, now_ms: int, dice: random.Random) -> None:
    names = [key[14:-9] for key in map(bytes.decode, client.scan_iter("ps:1:shopper:*:profile"))]
    kinds = ["item_view"] * 6 + ["page_view", "search", "cart_add", "purchase"]
    for i in range(40, 0, -1):
        at_ms = now_ms - i * 500
        events = [[dice.choice(names), kind, "mug-0007" if kind in ("item_view", "cart_add") else "", at_ms]
                  for kind in dice.sample(kinds, 3)]  # fmt: skip
        client.xadd(keys.recent_key(), {"events": orjson.dumps(events).decode()}, id=f"{at_ms}-0")
