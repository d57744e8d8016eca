"""The baselines do the work that their descriptions say, on the same events as the product."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import orjson
import pytest
from bytewax.testing import run_main

from benchmarks import floor, plain_loop
from benchmarks.workload import Workload, cached
from flows.runtime import replay
from flows.sinks.redis import RedisSink
from flows.sources.files import LogFile
from operators.readers.registry import READERS
from state import keys
from state.config import Settings
from state.store import Store

if TYPE_CHECKING:
    from pathlib import Path

SMALL = Workload(events=3000, shoppers=150, items=100)
COUNTED = ("sessions", "views", "carts", "purchases")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(cached(SMALL, tmp_path_factory.mktemp("workload")))


def test_the_plain_loop_counts_what_the_product_counts(
    path: str, redis_url: str, tmp_path: Path
) -> None:
    shoppers = plain_loop.run(LogFile(path).lines(), redis_url)
    store = Store(redis_url, timeout_ms=5000, patience_s=0)
    plain = {
        name.removeprefix(b"plain:").decode(): orjson.loads(store.client.get(name))
        for name in store.client.keys("plain:*")
    }
    replay.replay_recordings(
        {"file": lambda: READERS["penstock"](LogFile(path).lines(), source=path, now_ms=2**62)},
        Settings(),
        redis_url=redis_url,
        dead_letters=tmp_path / "dead.jsonl",
    )
    assert len(plain) == shoppers == SMALL.shoppers
    for name, shopper in plain.items():
        profile = store.client.hgetall(keys.profile_key(name))
        counted = {field: int(profile.get(field.encode(), 0)) for field in COUNTED}
        assert counted == {field: shopper[field] for field in COUNTED}


def test_the_floor_writes_a_value_for_each_active_device(path: str, redis_url: str) -> None:
    sink = RedisSink(lambda: Store(redis_url, timeout_ms=5000, patience_s=0))
    run_main(floor.build(path, lambda: None, sink), epoch_interval=timedelta(seconds=1))
    store = Store(redis_url, timeout_ms=5000, patience_s=0)
    events = [*map(orjson.loads, LogFile(path).lines())]
    last = {event.get("anonymous_id") or event["user_id"]: event["event_ts"] for event in events}
    written = store.client.keys("ps:1:shopper:*")
    assert {key.decode() for key in written} == {keys.profile_key(name) for name in last}
    assert {int(store.client.get(keys.profile_key(name))) for name in last} == {*last.values()}
